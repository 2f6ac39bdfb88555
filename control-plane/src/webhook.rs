//! The webhook by which the API server asks what to add to a pod (`admission.k8s.io/v1`).

mod review;
mod trust;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use weft_identity::{KeyAndCsr, Rotation};

use crate::Error;
use crate::authority::Authority;
use crate::compile::SYSTEM_NAMESPACE;
use crate::inject::Cluster;
use crate::metrics::{Admitted, Metrics};
use crate::settings::Settings;

pub(crate) use trust::keep as keep_trusted;

/// A pod is at most 1.5 MiB in etcd; a review holds it once or twice.
const BODY_MAX: usize = 4 * 1024 * 1024;
/// Longest TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Pause after a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(50);
/// Connections at once: the API server needs few.
const CONNECTIONS: usize = 256;

/// Answers the API server.
pub(crate) struct Webhook {
    pub(crate) authority: Arc<Authority>,
    pub(crate) settings: Arc<Mutex<Settings>>,
    pub(crate) cluster: Cluster,
    pub(crate) metrics: Arc<Metrics>,
    /// Life of its certificate.
    pub(crate) life: Duration,
}

/// What requests are answered with.
struct Answers {
    settings: Arc<Mutex<Settings>>,
    cluster: Cluster,
    metrics: Arc<Metrics>,
}

impl Webhook {
    /// Serves until it is dropped. The error is why it has no certificate to begin with.
    pub(crate) async fn serve(self, listener: TcpListener) -> Result<(), Error> {
        let (config, mut rotation) = self.certificate()?;
        let tls = ArcSwap::new(config);
        let answers = Answers {
            settings: Arc::clone(&self.settings),
            cluster: self.cluster,
            metrics: Arc::clone(&self.metrics),
        };
        let router = Router::new()
            .route("/inject", post(inject))
            .layer(DefaultBodyLimit::max(BODY_MAX))
            .with_state(Arc::new(answers));
        let mut authority = self.authority.current();
        let mut connections = JoinSet::new();
        loop {
            while connections.try_join_next().is_some() {}
            let wait = rotation.wait(SystemTime::now()).min(Duration::from_secs(2));
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                () = tokio::time::sleep(wait) => {
                    // A new authority signs at once: the one before it may soon be believed by nobody.
                    let now = self.authority.current();
                    if rotation.wait(SystemTime::now()).is_zero() || !Arc::ptr_eq(&now, &authority) {
                        match self.certificate() {
                            Ok((config, renewed)) => { tls.store(config); rotation = renewed; authority = now; }
                            Err(error) => {
                                rotation.failed(SystemTime::now(), fastrand::f64());
                                tracing::error!(%error, "can't renew the webhook's certificate; trying again");
                            }
                        }
                    }
                    continue;
                }
            };
            let Ok((stream, _)) = accepted else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            if connections.len() >= CONNECTIONS {
                continue;
            }
            let (acceptor, service) = (TlsAcceptor::from(tls.load_full()), router.clone());
            connections.spawn(async move {
                let Ok(Ok(stream)) = tokio::time::timeout(HANDSHAKE, acceptor.accept(stream)).await else {
                    return;
                };
                let service = TowerToHyperService::new(service);
                // A client that goes away early is its own business.
                let _ = auto::Builder::new(TokioExecutor::new())
                    .serve_connection(TokioIo::new(stream), service)
                    .await;
            });
        }
    }

    fn certificate(&self) -> Result<(Arc<ServerConfig>, Rotation), Error> {
        let (short, long) =
            (format!("control-plane.{SYSTEM_NAMESPACE}"), format!("control-plane.{SYSTEM_NAMESPACE}.svc"));
        let (key, now) = (KeyAndCsr::generate()?, SystemTime::now());
        let issued = self.authority.current().sign_server(key.csr_der(), &[&long, &short], self.life, now)?;
        let rotation = Rotation::new(now, issued.not_after, fastrand::f64());
        Ok((Arc::new(key.into_server(issued.chain, &[b"h2", b"http/1.1"])?), rotation))
    }
}

async fn inject(State(answers): State<Arc<Answers>>, body: Bytes) -> Response {
    let settings = answers.settings.lock().clone();
    match review::answer(&body, &settings, answers.cluster) {
        Ok((answer, outcome)) => {
            answers.metrics.admitted(outcome);
            axum::Json(answer).into_response()
        }
        Err(problem) => {
            answers.metrics.admitted(Admitted::Malformed);
            (StatusCode::BAD_REQUEST, format!("{problem}\n")).into_response()
        }
    }
}
