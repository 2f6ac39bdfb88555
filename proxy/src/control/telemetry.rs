//! Telling the control plane of the traffic.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::{Instant, MissedTickBehavior};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use weft_mesh::backoff::{Backoff, Jitter};
use weft_mesh::name::ServicePort;
use weft_proto::v1;
use weft_proto::v1::telemetry_client::TelemetryClient;

use super::credentials::Credentials;
use super::error::Error;
use super::transport::Transport;
use crate::observe::stats::{Direction, EdgeKey, Security, Totals};
use crate::runtime::shared::Shared;
use crate::snapshot::Tls;

/// Time between reports.
const REPORT_EVERY: Duration = Duration::from_secs(1);
/// Time for the last report to arrive.
const LAST_TIMEOUT: Duration = Duration::from_secs(1);
/// A stream that lived for so long had been taken.
const SETTLED: Duration = Duration::from_secs(10);
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

/// What was told on a stream so far.
#[derive(Debug)]
struct Told {
    workload: String,
    /// Tells what this process counted from what one before it did.
    instance: u64,
    edges: BTreeMap<EdgeKey, Totals>,
    /// Number of the certificate; `None`: nothing was told yet.
    certificate: Option<u64>,
}

impl Telemetry {
    /// Reports until `stop`, and a last time then.
    pub(super) async fn run(self, stop: CancellationToken) {
        let instance = fastrand::u64(1..);
        let mut failures = 0;
        let mut tls = self.credentials.watch();
        tokio::select! {
            _ = tls.wait_for(Option::is_some) => {}
            () = stop.cancelled() => return,
        }
        while !stop.is_cancelled() {
            let began = Instant::now();
            if let Err(error) = self.report(instance, &stop).await {
                // Discovery says loudly enough when the control plane is gone.
                tracing::debug!(%error, "reports are not taken; what was not told is told later");
            }
            // That reports could be queued says nothing: a control plane that refuses them does so afterwards.
            if began.elapsed() >= SETTLED {
                failures = 0;
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
    async fn report(&self, instance: u64, stop: &CancellationToken) -> Result<(), Error> {
        let channel = tokio::select! {
            channel = self.transport.connect() => channel?,
            () = stop.cancelled() => return Ok(()),
        };
        let (reports, queue) = mpsc::channel(1);
        let mut client = TelemetryClient::new(channel);
        let answer = client.report(ReceiverStream::new(queue));
        tokio::pin!(answer);
        // It may be to a control plane that has never heard of this proxy.
        let mut told = Told::nothing(&self.workload, instance);
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
                    if let Some(report) = self.next(&mut told) {
                        permit.send(report);
                    }
                }
                () = stop.cancelled() => {
                    let last = async {
                        if let Some(report) = self.next(&mut told) {
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
        told.next(self.shared.stats.edges_of_all_time(), self.credentials.tls().as_deref())
    }
}

impl Told {
    fn nothing(workload: &str, instance: u64) -> Self {
        Self { workload: workload.to_owned(), instance, edges: BTreeMap::new(), certificate: None }
    }

    /// What has changed; none if nothing has.
    fn next(
        &mut self,
        mut edges: BTreeMap<EdgeKey, Totals>,
        tls: Option<&Tls>,
    ) -> Option<v1::TelemetryReport> {
        edges.retain(|key, totals| key.direction == Direction::Outbound && !totals.is_empty());
        let changed = edges.iter().filter(|(key, totals)| self.edges.get(key) != Some(totals));
        let nothing = Totals::default();
        let ended = self.edges.keys().filter(|key| !edges.contains_key(key)).map(|key| (key, &nothing));
        let totals: Vec<_> = changed.chain(ended).map(|(key, totals)| report(key, totals)).collect();
        self.edges = edges;
        let number = Some(tls.map_or(0, |tls| tls.number));
        let whole = self.certificate.is_none();
        if totals.is_empty() && self.certificate == number {
            return None;
        }
        self.certificate = number;
        Some(v1::TelemetryReport {
            workload_id: self.workload.clone(),
            certificate_not_after: tls.map(|tls| tls.not_after().into()),
            certificate_serial: tls.map(|tls| tls.serial.clone()).unwrap_or_default(),
            instance: self.instance,
            totals,
            whole,
            ..v1::TelemetryReport::default()
        })
    }
}

fn report(key: &EdgeKey, totals: &Totals) -> v1::EdgeReport {
    let (buckets, counts) = totals.latency.buckets().map(|(bucket, count)| (bucket as u32, count)).unzip();
    let causes =
        totals.causes().map(|(cause, count)| v1::CauseCount { reason: cause.label().to_owned(), count });
    let tls = match key.security {
        Security::Unknown => v1::TlsState::Unspecified,
        Security::Plain => v1::TlsState::None,
        Security::Mutual(_) => v1::TlsState::Mutual,
    };
    v1::EdgeReport {
        destination: key.destination.as_ref().map(service_port),
        backend: key.backend.as_ref().map(service_port),
        upstream_workload: key.workload.to_string(),
        upstream_identity: key.security.peer().map(ToString::to_string).unwrap_or_default(),
        route: key.route.to_string(),
        upstream_version: key.version.to_string(),
        requests: totals.requests(),
        failures: totals.failures,
        retries: totals.retries,
        latency: Some(v1::Histogram { buckets, counts, sum: totals.latency.sum() }),
        tcp_connections: totals.connections_closed(),
        bytes_sent: totals.bytes_sent,
        bytes_received: totals.bytes_received,
        tcp_opened: totals.connections_opened,
        causes: causes.collect(),
        mirrored: key.mirrored,
        tls: tls.into(),
    }
}

/// All that a proxy tells of what it has carried.
#[cfg(test)]
pub(crate) fn told_of(stats: &crate::observe::stats::Stats) -> Vec<v1::EdgeReport> {
    let mut told = Told::nothing("test", 1);
    told.next(stats.edges_of_all_time(), None).map_or_else(Vec::new, |report| report.totals)
}

fn service_port(port: &ServicePort) -> v1::ServicePort {
    v1::ServicePort {
        namespace: port.service.namespace().to_owned(),
        name: port.service.name().to_owned(),
        port: port.port.into(),
    }
}
