//! The admin interface: readiness, metrics, and what is in force. It has no authentication and so listens on loopback
//! unless told otherwise.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use weft_xds::server::Server;

use crate::discovery::Discovery;
use crate::follow::ConfigStatus;
use crate::metrics::{Levels, Metrics};
use crate::registry::Registry;
use crate::service::Traffic;

/// Time for a request's head to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(50);

const PATHS: &str = "\
GET /ready    200 when clients are served
GET /live     200 as long as the process works
GET /metrics  counters, for Prometheus
GET /config   resources in force, and what is wrong with the files as they are now
GET /clients  registered workloads and discovery streams
";

/// Answers the admin interface's requests.
pub(crate) struct Admin {
    pub(crate) discovery: Arc<Discovery>,
    pub(crate) server: Server,
    pub(crate) registry: Arc<Registry>,
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) status: Arc<Mutex<ConfigStatus>>,
    pub(crate) metrics: Arc<Metrics>,
    /// Whether all that is to be told has been read.
    pub(crate) synced: watch::Receiver<bool>,
    /// Cancelled when the end is near.
    pub(crate) stop: CancellationToken,
}

type Answer = Response<Full<Bytes>>;

impl Admin {
    /// Serves until it is dropped.
    pub(crate) async fn serve(self, listener: TcpListener) {
        let admin = Arc::new(self);
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let admin = Arc::clone(&admin);
            connections.spawn(async move {
                let service =
                    service_fn(|request| std::future::ready(Ok::<_, Infallible>(admin.answer(&request))));
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD_TIMEOUT)
                    .serve_connection(TokioIo::new(stream), service);
                // A client that goes away early is its own business.
                let _ = connection.await;
            });
        }
    }

    fn answer<B>(&self, request: &Request<B>) -> Answer {
        let path = request.uri().path();
        if !matches!(path, "/" | "/ready" | "/live" | "/metrics" | "/config" | "/clients") {
            return text(StatusCode::NOT_FOUND, format!("there is no {path} here; there is:\n{PATHS}"));
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut answer = text(StatusCode::METHOD_NOT_ALLOWED, "use GET\n");
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return answer;
        }
        match path {
            "/ready" => self.ready(),
            "/live" => text(StatusCode::OK, "live\n"),
            "/metrics" => match self.metrics.encode(self.levels()) {
                Ok(metrics) => answer(
                    StatusCode::OK,
                    "application/openmetrics-text; version=1.0.0; charset=utf-8",
                    metrics,
                ),
                Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("metrics: {error}\n")),
            },
            "/config" => json_answer(&self.config()),
            "/clients" => json_answer(&self.clients()),
            _ => text(StatusCode::OK, PATHS),
        }
    }

    fn ready(&self) -> Answer {
        if self.stop.is_cancelled() {
            return text(StatusCode::SERVICE_UNAVAILABLE, "not ready\nthe control plane is about to end\n");
        }
        if !*self.synced.borrow() {
            return text(
                StatusCode::SERVICE_UNAVAILABLE,
                "not ready\nnot everything in the cluster has been read yet; the log says what can't be watched\n",
            );
        }
        text(StatusCode::OK, "ready\n")
    }

    fn levels(&self) -> Levels {
        let counts = self.discovery.counts();
        Levels {
            resources: counts.objects,
            services: counts.services,
            endpoints: counts.endpoints,
            workloads: counts.workloads,
            compiled: counts.compiled,
            edges: self.traffic.len(),
        }
    }

    fn config(&self) -> Value {
        let status = self.status.lock().clone();
        json!({
            "version": status.version,
            "resources": self.discovery.keys(),
            "errors": status.errors,
            "warnings": status.warnings,
        })
    }

    fn clients(&self) -> Value {
        let workloads = self.registry.workloads().into_iter().map(|registered| {
            let workload = registered.workload;
            json!({
                "id": &*workload.id,
                "identity": workload.identity.as_str(),
                "connected": registered.connected,
                "health": format!("{:?}", workload.health),
                "proxy_version": workload.proxy_version,
                "labels": workload.labels,
                "offers": workload.offers.iter().map(|offer| json!({
                    "service": offer.service,
                    "port": offer.port,
                    "address": offer.address.to_string(),
                })).collect::<Vec<_>>(),
            })
        });
        let streams = self.server.clients().into_iter().map(|client| {
            let types = client.types.iter().map(|it| {
                json!({
                    "type": &*it.type_url,
                    "subscriptions": it.subscriptions,
                    "held": it.held,
                    "pending": it.pending,
                    "refused": it.rejected.iter().map(ToString::to_string).collect::<Vec<_>>(),
                })
            });
            json!({
                "node": &*client.client.node_id,
                "identity": &*client.client.identity,
                "connected_for_seconds": client.connected_for.as_secs(),
                "types": types.collect::<Vec<_>>(),
            })
        });
        json!({ "workloads": workloads.collect::<Vec<_>>(), "streams": streams.collect::<Vec<_>>() })
    }
}

fn json_answer(value: &Value) -> Answer {
    match serde_json::to_string_pretty(value) {
        Ok(json) => answer(StatusCode::OK, "application/json", json + "\n"),
        Err(error) => text(StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")),
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    answer(status, "text/plain; charset=utf-8", body)
}

fn answer(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    answer
}
