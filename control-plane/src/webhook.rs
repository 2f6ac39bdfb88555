//! The webhook by which the API server asks what to add to a pod (`admission.k8s.io/v1`).

mod places;
mod review;
mod trust;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use axum::{Extension, Router};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::service::TowerToHyperService;
use parking_lot::Mutex;
use rustls::ServerConfig;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use weft_identity::{KeyAndCsr, Rotation};

use crate::Error;
use crate::authority::Authority;
use crate::compile::SYSTEM_NAMESPACE;
use crate::inject::Cluster;
use crate::metrics::{Admitted, Metrics};
use crate::settings::Settings;

use places::{Place, Places};
pub(crate) use trust::keep as keep_trusted;

/// A pod is at most 1.5 MiB in etcd; a review holds it once or twice.
const BODY_MAX: usize = 4 * 1024 * 1024;
/// Longest TLS handshake.
const HANDSHAKE: Duration = Duration::from_secs(5);
/// Pause after a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(50);
/// Longest wait for a request's head over HTTP/1, and for a body: the API server waits no longer for the whole.
const PATIENCE: Duration = Duration::from_secs(10);
/// Requests at once on a connection of HTTP/2.
const STREAMS: u32 = 16;
/// What of each is taken before it is read: a pod has some KiB. A connection has the window of all of them, so that one that
/// waits to be read holds up no other.
const WINDOW: u32 = 64 * 1024;

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
        let router = Router::new().route("/inject", post(inject)).with_state(Arc::new(answers));
        let mut authority = self.authority.current();
        let (mut connections, mut places) = (JoinSet::new(), Places::new());
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
            let Ok((stream, address)) = accepted else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let Some(place) = places.take(address.ip()) else { continue };
            let last = place.last();
            let serving = serve(TlsAcceptor::from(tls.load_full()), stream, router.clone(), place);
            places.opened(last, connections.spawn(serving));
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

async fn serve(acceptor: TlsAcceptor, stream: TcpStream, router: Router, place: Place) {
    let Ok(Ok(stream)) = timeout(HANDSHAKE, acceptor.accept(stream)).await else { return };
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(PATIENCE);
    builder
        .http2()
        .max_concurrent_streams(STREAMS)
        .initial_stream_window_size(WINDOW)
        .initial_connection_window_size(STREAMS * WINDOW);
    let service = TowerToHyperService::new(router.layer(Extension(Arc::new(place))));
    // A client that goes away early is its own business.
    let _ = builder.serve_connection(TokioIo::new(stream), service).await;
}

async fn inject(
    State(answers): State<Arc<Answers>>,
    Extension(place): Extension<Arc<Place>>,
    body: Body,
) -> Response {
    let read = async {
        let permit = place.read().await;
        (permit, to_bytes(body, BODY_MAX).await)
    };
    // The place among those that are read is held until the answer is made.
    let (_permit, body) = match timeout(PATIENCE, read).await {
        Ok((permit, Ok(body))) => (permit, body),
        Ok((_, Err(error))) => {
            answers.metrics.admitted(Admitted::Malformed);
            return (StatusCode::BAD_REQUEST, format!("no AdmissionReview: {error}\n")).into_response();
        }
        Err(_) => {
            return (
                StatusCode::SERVICE_UNAVAILABLE,
                "too many reviews at once, or one that does not come\n",
            )
                .into_response();
        }
    };
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
