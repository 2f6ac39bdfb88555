//! Telling the control plane of the traffic.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use weft_mesh::backoff::{Backoff, Jitter};
use weft_mesh::name::ServicePort;
use weft_proto::v1;
use weft_proto::v1::telemetry_client::TelemetryClient;

use super::credentials::Credentials;
use super::error::Error;
use super::transport::Transport;
use crate::shared::Shared;
use crate::snapshot::Tls;
use crate::stats::{Direction, EdgeKey, Totals};

/// Time between reports.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Time for the last report to arrive.
const LAST_TIMEOUT: Duration = Duration::from_secs(1);
/// Time between attempts.
const BACKOFF: Backoff =
    Backoff { first: Duration::from_millis(500), longest: Duration::from_secs(10), jitter: Jitter::Full };

/// Reports what was carried outbound: each request has one client, so that nothing is counted twice.
#[derive(Debug)]
pub(super) struct Telemetry {
    pub(super) transport: Arc<Transport>,
    pub(super) credentials: Arc<Credentials>,
    pub(super) shared: Arc<Shared>,
    pub(super) workload: String,
}

/// What was told so far.
#[derive(Debug, Default)]
struct Told {
    edges: HashMap<EdgeKey, Totals>,
    certificate: u64,
}

impl Telemetry {
    /// Reports until `stop`, and a last time then.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut told = Told::default();
        let mut failures = 0;
        let mut tls = self.credentials.watch();
        tokio::select! {
            _ = tls.wait_for(Option::is_some) => {}
            () = stop.cancelled() => return,
        }
        while !stop.is_cancelled() {
            if let Err(error) = self.report(&mut told, &mut failures, &stop).await {
                // Discovery says loudly enough when the control plane is gone.
                tracing::debug!(%error, "reports are not taken; what was not told is told later");
            }
            let delay = BACKOFF.delay(failures, fastrand::u64(..));
            failures = failures.saturating_add(1);
            tokio::select! {
                () = tokio::time::sleep(delay) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    /// Reports until the stream ends.
    async fn report(
        &self,
        told: &mut Told,
        failures: &mut u32,
        stop: &CancellationToken,
    ) -> Result<(), Error> {
        let channel = tokio::select! {
            channel = self.transport.connect() => channel?,
            () = stop.cancelled() => return Ok(()),
        };
        let (reports, queue) = mpsc::channel(1);
        let mut client = TelemetryClient::new(channel);
        let answer = client.report(ReceiverStream::new(queue));
        tokio::pin!(answer);
        // A new stream may be to a control plane that has never heard of this certificate.
        told.certificate = 0;
        let mut ticks = tokio::time::interval(REPORT_EVERY);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                ended = &mut answer => {
                    let address = self.transport.address();
                    return ended.map(drop).map_err(|status| Error::of_call(address, "reports", &status));
                }
                _ = ticks.tick() => {
                    // What can't be queued now is told later, all at once.
                    let Ok(permit) = reports.try_reserve() else { continue };
                    if let Some(report) = self.next(told) {
                        permit.send(report);
                        *failures = 0;
                    }
                }
                () = stop.cancelled() => {
                    let last = async {
                        if let Some(report) = self.next(told) {
                            let _ = reports.send(report).await;
                        }
                        drop(reports);
                    };
                    let _ = tokio::time::timeout(LAST_TIMEOUT, async { tokio::join!(last, answer) }).await;
                    return Ok(());
                }
            }
        }
    }

    fn next(&self, told: &mut Told) -> Option<v1::TelemetryReport> {
        told.next(self.shared.stats.edges(), self.credentials.tls().as_deref(), &self.workload)
    }
}

impl Told {
    /// What is new; none if nothing is.
    fn next(
        &mut self,
        edges: Vec<(EdgeKey, Totals)>,
        tls: Option<&Tls>,
        workload: &str,
    ) -> Option<v1::TelemetryReport> {
        let mut reports = Vec::new();
        let mut now = HashMap::with_capacity(edges.len());
        for (key, totals) in edges.into_iter().filter(|(key, _)| key.direction == Direction::Outbound) {
            let since = self.edges.get(&key).map_or_else(|| totals.clone(), |before| totals.since(before));
            if !since.is_empty() {
                reports.push(report(&key, &since));
            }
            now.insert(key, totals);
        }
        self.edges = now;
        let number = tls.map_or(0, |tls| tls.number);
        if reports.is_empty() && number == self.certificate {
            return None;
        }
        self.certificate = number;
        Some(v1::TelemetryReport {
            workload_id: workload.to_owned(),
            edges: reports,
            certificate_not_after: tls.map(|tls| tls.not_after().into()),
            certificate_serial: tls.map(|tls| tls.serial.clone()).unwrap_or_default(),
        })
    }
}

fn report(key: &EdgeKey, totals: &Totals) -> v1::EdgeReport {
    let (buckets, counts) = totals.latency.buckets().map(|(bucket, count)| (bucket as u32, count)).unzip();
    v1::EdgeReport {
        destination: Some(service_port(&key.destination)),
        backend: Some(service_port(&key.backend)),
        upstream_workload: key.workload.to_string(),
        upstream_identity: key.peer.as_ref().map(ToString::to_string).unwrap_or_default(),
        route: key.route.to_string(),
        upstream_version: key.version.to_string(),
        requests: totals.requests(),
        failures: totals.failures,
        retries: totals.retries,
        latency: Some(v1::Histogram { buckets, counts, sum: totals.latency.sum() }),
        tcp_connections: totals.connections_closed,
        bytes_sent: totals.bytes_sent,
        bytes_received: totals.bytes_received,
    }
}

fn service_port(port: &ServicePort) -> v1::ServicePort {
    v1::ServicePort {
        namespace: port.service.namespace().to_owned(),
        name: port.service.name().to_owned(),
        port: port.port.into(),
    }
}
