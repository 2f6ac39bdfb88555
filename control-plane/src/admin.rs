//! The admin interface: readiness, metrics, and what is in force. It has no authentication and so listens on loopback alone;
//! what nodes and Prometheus ask for is at an address of its own, the monitor's.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

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
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use weft_xds::server::Server;

use crate::authority;
use crate::config_watcher::ConfigStatus;
use crate::discovery::Discovery;
use crate::metrics::{KindLabels, Levels, Metrics};
use crate::registry::Registry;
use crate::shares::{Shares, source};
use crate::source::kubernetes::WatchHealth;
use crate::traffic::Traffic;
use weft_resource::Kind;

/// Time for a request's head to arrive.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(50);

/// Longest that a connection is kept, so that none keeps its place from others for ever.
const CONNECTION: Duration = Duration::from_mins(5);
/// Connections at once, of all and of one source: a few probes and scrapes.
const CONNECTIONS: usize = 256;
const OF_SOURCE: usize = 16;

const PATHS: &str = "\
GET /ready    200 when clients are served
GET /live     200 as long as the process works
GET /metrics  counters, for Prometheus
";
const ADMIN_PATHS: &str = "\
GET /config   resources in force, and what is wrong with the files as they are now
GET /clients  registered workloads and discovery streams
GET /traffic  what proxies have reported of requests and connections
";

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Surface {
    /// Somebody on this machine, or who may forward a port to it.
    Admin,
    /// Anybody.
    Monitor,
}

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
    /// How the watches on a cluster are doing.
    pub(crate) watches: Option<WatchHealth>,
    /// Whether it can sign, and what its material lacks.
    pub(crate) authority: watch::Receiver<authority::State>,
    /// Cancelled when the end is near.
    pub(crate) stop: CancellationToken,
}

type Answer = Response<Full<Bytes>>;

impl Admin {
    /// Serves until it is dropped.
    pub(crate) async fn serve(self: Arc<Self>, listener: TcpListener, surface: Surface) {
        let (places, sources) = (Arc::new(Semaphore::new(CONNECTIONS)), Shares::new(OF_SOURCE));
        let end = CancellationToken::new();
        let _end = end.clone().drop_guard();
        loop {
            let Ok((stream, address)) = listener.accept().await else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            // Of this machine everything comes from one address, and whoever is on it has better means.
            let local = address.ip().is_loopback();
            let share = (!local).then(|| sources.take(source(address.ip())));
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else { continue };
            if matches!(share, Some(None)) {
                continue;
            }
            let (admin, end) = (Arc::clone(&self), end.clone());
            tokio::spawn(async move {
                let _held = (share, place);
                let service = service_fn(|request| {
                    std::future::ready(Ok::<_, Infallible>(admin.answer(&request, surface)))
                });
                let connection = http1::Builder::new()
                    .timer(TokioTimer::new())
                    .header_read_timeout(HEAD_TIMEOUT)
                    .serve_connection(TokioIo::new(stream), service);
                // A client that goes away early is its own business.
                let _ = end.run_until_cancelled(timeout(CONNECTION, connection)).await;
            });
        }
    }

    fn answer<B>(&self, request: &Request<B>, surface: Surface) -> Answer {
        let path = request.uri().path();
        let paths = if surface == Surface::Admin { [PATHS, ADMIN_PATHS].concat() } else { PATHS.to_owned() };
        let known = match path {
            "/" | "/ready" | "/live" | "/metrics" => true,
            "/config" | "/clients" | "/traffic" => surface == Surface::Admin,
            _ => false,
        };
        if !known {
            return text(StatusCode::NOT_FOUND, format!("there is no {path} here; there is:\n{paths}"));
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
            "/traffic" => json_answer(&self.traffic.json(&self.registry.workloads())),
            _ => text(StatusCode::OK, paths),
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
        let mut said = String::new();
        for (kind, why) in self.watches.as_ref().map(WatchHealth::failing).unwrap_or_default() {
            said.push_str("the watch on kind ");
            said.extend([&*kind, " fails, so that what is known of it is old, ", &*why, "\n"]);
        }
        if let Some(trouble) = &self.authority.borrow().trouble {
            said.extend([trouble.as_str(), "\n"]);
        }
        if said.is_empty() {
            return text(StatusCode::OK, "ready\n");
        }
        text(StatusCode::SERVICE_UNAVAILABLE, format!("not ready\n{said}"))
    }

    fn levels(&self) -> Levels {
        let authority = self.authority.borrow().clone();
        let expiry = authority.not_after.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let counts = self.discovery.counts();
        self.metrics.watches_failing.clear();
        for kind in Kind::ALL {
            self.metrics.watches_failing.get_or_create(&KindLabels { kind: kind.to_string() }).set(0);
        }
        for (kind, _) in self.watches.as_ref().map(WatchHealth::failing).unwrap_or_default() {
            self.metrics.watches_failing.get_or_create(&KindLabels { kind }).set(1);
        }
        Levels {
            withheld: counts.withheld,
            resources: counts.objects,
            services: counts.services,
            endpoints: counts.endpoints,
            workloads: counts.workloads,
            compiled: counts.compiled,
            edges: self.traffic.len(),
            authority_unusable: usize::from(authority.trouble.is_some()),
            authority_expiry: usize::try_from(expiry.as_secs()).unwrap_or(usize::MAX),
        }
    }

    fn config(&self) -> Value {
        let status = self.status.lock().clone();
        let warnings: Vec<_> =
            status.warnings.iter().cloned().chain(status.together(&self.discovery)).collect();
        json!({
            "version": status.version,
            "resources": self.discovery.keys(),
            "errors": status.errors,
            "warnings": warnings,
        })
    }

    fn clients(&self) -> Value {
        let workloads = self.registry.workloads().into_iter().map(|registered| {
            let workload = registered.workload;
            json!({
                "id": &*workload.name,
                "identity": workload.identity.as_str(),
                "connected": registered.connected,
                "health": format!("{:?}", workload.health),
                "token": workload.token,
                "grants": workload.grants.services(&workload.identity),
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
