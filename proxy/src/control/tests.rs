//! The control side against a control plane in the same thread, with a clock that stands still while something happens.

mod admin;
mod discovery;
mod identity;
mod plane;
mod registration;
mod telemetry;

use std::time::{Duration, SystemTime};

use http::{Method, Request, StatusCode};
use http_body_util::BodyExt;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use weft_mesh::protocol::Protocol;
use weft_proto::v1;

use self::plane::Plane;
use super::*;
use crate::config::Upstream;
use crate::snapshot::Snapshot;

const WORKLOAD: &str = "web-1";

/// A proxy's control side that runs.
struct Sidecar {
    shared: Arc<Shared>,
    status: Arc<Status>,
    admin: Admin,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

/// Waits until nothing happens any more: time passes only then.
async fn settle() {
    sleep(Duration::from_millis(10)).await;
}

fn config(plane: &Plane) -> ProxyConfig {
    ProxyConfig {
        workload_id: WORKLOAD.to_owned(),
        control_plane: "weft.example:15012".to_owned(),
        proof: config::Proof::Token(plane.token()),
        labels: vec![("app".to_owned(), "web".to_owned())],
        zone: "z1".to_owned(),
        ..ProxyConfig::default()
    }
}

/// An offer of the service `web` whose application and inbound listener are at these addresses.
fn offer(application: SocketAddr) -> (Offer, SocketAddr) {
    let listen = "10.0.0.1:15006".parse().unwrap();
    let services = vec!["web".to_owned()];
    (Offer { services, port: 80, protocol: Protocol::Http1, listen, application }, listen)
}

impl Sidecar {
    async fn start(plane: &Plane) -> Self {
        Self::start_with(plane, config(plane), Vec::new()).await
    }

    async fn start_with(plane: &Plane, config: ProxyConfig, offers: Vec<(Offer, SocketAddr)>) -> Self {
        let (shared, lookups) = Shared::new(1, weft_mesh::balance::Locality::default());
        let (epoch, began) = (SystemTime::now(), tokio::time::Instant::now());
        let clock = Clock::new(move || epoch + began.elapsed());
        let control =
            Control::new(config, Arc::clone(&shared), lookups, offers, plane.dial(), clock).unwrap();
        let (rotations, demanded) = mpsc::channel(ROTATIONS);
        let status = Arc::clone(&control.status);
        let admin = Admin::new(&shared, &status, &control.config, rotations);
        let stop = CancellationToken::new();
        let running = tokio::spawn(control.follow(demanded, JoinSet::new(), stop.clone()));
        settle().await;
        Self { shared, status, admin, stop, running }
    }

    fn snapshot(&self) -> Arc<Snapshot> {
        self.shared.snapshot.load_full()
    }

    /// The serial number of the certificate in force.
    fn serial(&self) -> String {
        self.snapshot().tls.as_ref().map(|tls| tls.serial.clone()).unwrap_or_default()
    }

    /// What the admin server answers.
    async fn ask(&self, method: Method, path: &str) -> (StatusCode, String) {
        let request = Request::builder().method(method).uri(path).body(()).unwrap();
        let (head, body) = self.admin.answer(&request).await.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        (head.status, String::from_utf8(body.to_vec()).unwrap())
    }

    /// Asks for a destination; the answer comes once it is known.
    fn look_up(&self, name: &str) -> oneshot::Receiver<()> {
        let (answered, answer) = oneshot::channel();
        self.shared.lookups.try_send(Lookup { name: name.to_owned(), answered }).unwrap();
        answer
    }

    /// Ends it as the process would.
    async fn end(self) {
        self.stop.cancel();
        self.running.await.unwrap();
    }
}
