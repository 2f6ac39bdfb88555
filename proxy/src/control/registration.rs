//! Making the workload known, for as long as it runs.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use weft_mesh::backoff::{Backoff, Jitter};
use weft_mesh::protocol::Protocol;
use weft_proto::v1;
use weft_proto::v1::register_request::Message;
use weft_proto::v1::registration_client::RegistrationClient;

use super::credentials::Credentials;
use super::error::Error;
use super::transport::Transport;
use crate::config::{Offer, ProxyConfig};
use crate::runtime::status;

/// Time between attempts. The registration outlives its stream by 10 s, so that it has to be back well before.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(200),
    longest: Duration::from_secs(2),
    jitter: Jitter::Around(0.3),
};
/// A stream that lived for so long had succeeded.
const SETTLED: Duration = Duration::from_secs(10);
/// Time for the control plane to hear of the end.
const WITHDRAW_TIMEOUT: Duration = Duration::from_secs(1);
/// Time between looks whether the application takes connections.
const PROBE_EVERY: Duration = Duration::from_millis(50);

/// Keeps the workload registered.
#[derive(Debug)]
pub(super) struct Registration {
    pub(super) transport: Arc<Transport>,
    pub(super) credentials: Arc<Credentials>,
    pub(super) status: Arc<status::Status>,
    pub(super) drain: CancellationToken,
    pub(super) workload: v1::Workload,
    /// Where the application listens.
    pub(super) applications: Vec<SocketAddr>,
}

/// The workload as the control plane is told of it.
pub(super) fn workload(config: &ProxyConfig, offers: &[(Offer, SocketAddr)]) -> v1::Workload {
    let offered = |(offer, listen): &(Offer, SocketAddr)| {
        let of = |service: &String| v1::ServiceOffer {
            service: service.clone(),
            port: offer.port.into(),
            port_name: String::new(),
            protocol: protocol(offer.protocol).into(),
            address: listen.ip().to_string(),
            address_port: listen.port().into(),
        };
        offer.services.iter().map(of).collect::<Vec<_>>()
    };
    v1::Workload {
        workload_id: config.workload_id.clone(),
        labels: config.labels.iter().cloned().collect(),
        services: offers.iter().flat_map(offered).collect(),
        locality: Some(v1::Locality { region: config.region.clone(), zone: config.zone.clone() }),
        health: v1::Health::NotReady.into(),
        proxy_version: env!("CARGO_PKG_VERSION").to_owned(),
    }
}

fn protocol(protocol: Protocol) -> v1::Protocol {
    match protocol {
        Protocol::Detect => v1::Protocol::Detect,
        Protocol::Http1 => v1::Protocol::Http1,
        Protocol::Http2 => v1::Protocol::Http2,
        Protocol::Grpc => v1::Protocol::Grpc,
        Protocol::Tcp => v1::Protocol::Tcp,
        Protocol::Tls => v1::Protocol::Tls,
    }
}

impl Registration {
    /// Registers until `stop`, then withdraws.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let (mut failures, mut told) = (0, String::new());
        loop {
            let began = Instant::now();
            let Err(error) = self.serve(&stop).await else { return };
            if began.elapsed() >= SETTLED {
                failures = 0;
            }
            let problem = error.to_string();
            if failures == 0 || problem != told {
                tracing::warn!(workload = %self.workload.workload_id, problem, "not registered; trying again");
                told.clone_from(&problem);
            }
            self.status.registered(Some(problem), error.is_final());
            let delay = BACKOFF.delay(failures, fastrand::u64(..));
            failures = failures.saturating_add(1);
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// One stream, from its beginning to its end: an error, or the withdrawal soon after `stop`.
    async fn serve(&mut self, stop: &CancellationToken) -> Result<(), Error> {
        let (requests, mut responses) = tokio::select! {
            opened = self.open() => opened?,
            () = stop.cancelled() => return Ok(()),
        };
        loop {
            tokio::select! {
                biased;
                () = stop.cancelled() => {
                    let withdrawn = async {
                        let _ = requests.send(request(Message::Withdraw(v1::Withdraw {}))).await;
                        drop(requests);
                        // The answer is the end of the stream: the control plane has heard of it then.
                        while let Ok(Some(_)) = responses.message().await {}
                    };
                    let _ = tokio::time::timeout(WITHDRAW_TIMEOUT, withdrawn).await;
                    return Ok(());
                }
                () = self.drain.cancelled(), if self.health() != v1::Health::Draining => {
                    self.tell(&requests, v1::Health::Draining).await;
                }
                () = self.able(), if self.health() == v1::Health::NotReady => {
                    tracing::info!(workload = %self.workload.workload_id, "takes requests");
                    self.tell(&requests, v1::Health::Ready).await;
                }
                answer = responses.message() => match answer {
                    Ok(Some(registered)) => {
                        tracing::info!(workload = %registered.workload_id, "registered");
                        self.status.registered(None, false);
                    }
                    Ok(None) => return Err(self.over()),
                    Err(status) => return Err(self.failed(&status)),
                }
            }
        }
    }

    async fn open(
        &self,
    ) -> Result<(mpsc::Sender<v1::RegisterRequest>, Streaming<v1::RegisterResponse>), Error> {
        // There is nobody to register before the first certificate.
        let mut tls = self.credentials.watch();
        let _ = tls.wait_for(Option::is_some).await;
        let channel = self.transport.connect().await?;
        let (requests, queue) = mpsc::channel(4);
        let _ = requests.send(request(Message::Register(self.workload.clone()))).await;
        let responses = RegistrationClient::new(channel).register(ReceiverStream::new(queue)).await;
        let responses = responses.map_err(|status| self.failed(&status))?;
        Ok((requests, responses.into_inner()))
    }

    /// Waits until requests would not be sent in vain: the proxy lets them in, and every port of the application takes
    /// connections.
    async fn able(&self) {
        self.status.until_ready().await;
        for address in &self.applications {
            while TcpStream::connect(address).await.is_err() {
                tokio::time::sleep(PROBE_EVERY).await;
            }
        }
    }

    fn health(&self) -> v1::Health {
        self.workload.health()
    }

    async fn tell(&mut self, requests: &mpsc::Sender<v1::RegisterRequest>, health: v1::Health) {
        self.workload.set_health(health);
        // A stream that is over says so itself; the next one begins with this.
        let _ = requests.send(request(Message::Health(health.into()))).await;
    }

    fn over(&self) -> Error {
        let problem = "by ending the registration".to_owned();
        Error::Answer { address: self.transport.address().to_owned(), problem }
    }

    fn failed(&self, status: &Status) -> Error {
        Error::of_call(self.transport.address(), "the registration", status)
    }
}

fn request(message: Message) -> v1::RegisterRequest {
    v1::RegisterRequest { message: Some(message) }
}
