//! What proxies report, and those who look at it.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::Stream;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::MissedTickBehavior;
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};
use weft_mesh::name::Identity;
use weft_proto::v1::telemetry_server;
use weft_proto::v1::{MeshSummary, ReportResponse, TelemetryReport, WatchRequest};

use crate::caller::Authenticator;
use crate::config_watcher::ConfigStatus;
use crate::discovery::Discovery;
use crate::registry::Registry;
use crate::traffic::{Reporter, Reporting, Traffic};

/// Summaries unless told otherwise, and the most often.
const INTERVAL: Duration = Duration::from_secs(1);
const INTERVAL_MIN: Duration = Duration::from_millis(100);

/// Takes reports and tells of them.
pub(crate) struct TrafficService {
    pub(crate) traffic: Arc<Traffic>,
    pub(crate) registry: Arc<Registry>,
    pub(crate) discovery: Arc<Discovery>,
    pub(crate) config: Arc<Mutex<ConfigStatus>>,
    pub(crate) authenticator: Authenticator,
    pub(crate) stop: CancellationToken,
}

// A status is tonic's one way to refuse a call.
#[allow(clippy::result_large_err)]
impl TrafficService {
    /// A stream begins with this report, of a workload that is the caller's.
    fn begin(
        &self,
        identity: &Identity,
        extensions: &http::Extensions,
        report: &TelemetryReport,
    ) -> Result<Reporting, Status> {
        let workload = &report.workload_id;
        let pod = self.discovery.pod_identity(workload);
        if self.registry.is_registered(identity, workload) || pod.as_ref() == Some(identity) {
            let (identity, workload) = (identity.clone(), workload.clone());
            return Ok(self.traffic.begin(Reporter { identity, workload, instance: report.instance }));
        }
        if let Some(owner) = pod {
            let problem = format!("workload {workload} belongs to {owner}, not to {identity}");
            return Err(self.authenticator.forbidden(extensions, problem));
        }
        // It comes before the registration, or the watch of pods: it would be of no workload.
        let problem =
            format!("{identity} has registered no workload {workload}, and no such pod is known here");
        Err(Status::failed_precondition(problem))
    }
}

type Summaries = Pin<Box<dyn Stream<Item = Result<MeshSummary, Status>> + Send>>;

#[tonic::async_trait]
impl telemetry_server::Telemetry for TrafficService {
    type WatchStream = Summaries;

    async fn report(
        &self,
        request: Request<Streaming<TelemetryReport>>,
    ) -> Result<Response<ReportResponse>, Status> {
        let identity = self.authenticator.identity(request.extensions())?;
        let extensions = request.extensions().clone();
        let mut reports = request.into_inner();
        let mut reporting: Option<Reporting> = None;
        loop {
            let report = tokio::select! {
                report = reports.message() => report?,
                () = self.stop.cancelled() => return Err(Status::unavailable("the control plane ends")),
            };
            let Some(report) = report else { return Ok(Response::new(ReportResponse {})) };
            let reporting = match &reporting {
                // The last report may come after the workload has withdrawn.
                Some(reporting) => reporting,
                None => reporting.insert(self.begin(&identity, &extensions, &report)?),
            };
            let of = reporting.reporter();
            if report.workload_id != of.workload || report.instance != of.instance {
                return Err(Status::invalid_argument(
                    "a stream is for the reports of one instance of a workload",
                ));
            }
            reporting.take(report);
        }
    }

    async fn watch(&self, request: Request<WatchRequest>) -> Result<Response<Summaries>, Status> {
        self.authenticator.operator(request.extensions())?;
        let interval = match request.into_inner().interval_ms {
            0 => INTERVAL,
            millis => Duration::from_millis(millis.into()).max(INTERVAL_MIN),
        };
        let (summaries, queue) = mpsc::channel(1);
        let (traffic, registry) = (Arc::clone(&self.traffic), Arc::clone(&self.registry));
        let (config, stop) = (Arc::clone(&self.config), self.stop.clone());
        tokio::spawn(async move {
            let mut ticks = tokio::time::interval(interval);
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tokio::select! {
                    _ = ticks.tick() => {}
                    () = summaries.closed() => return,
                    () = stop.cancelled() => return,
                }
                let status = config.lock().clone();
                let summary = traffic.summary(&registry.workloads(), &status);
                if summaries.send(Ok(summary)).await.is_err() {
                    return;
                }
            }
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(queue))))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::time::Duration;

    use tonic::Code;

    use super::*;
    use crate::handshake_errors::HandshakeErrors;
    use crate::index::tests::workload;
    use crate::index::{Change, Pod};
    use crate::metrics::Metrics;

    fn identity(account: &str) -> Identity {
        format!("spiffe://cluster.local/ns/shop/sa/{account}").parse().unwrap()
    }

    /// One that knows pod `web-1` of `shop/web`, and a registered workload `cart-1`.
    fn service(folder: &std::path::Path) -> TrafficService {
        let metrics = Arc::new(Metrics::default());
        let discovery = Arc::new(Discovery::new("cluster.local".parse().unwrap()));
        let pod = Pod {
            name: "web-1".into(),
            id: Pod::id("shop", "web-1"),
            uid: "".into(),
            ips: Vec::new(),
            node_ips: Vec::new(),
            host_network: false,
            identity: identity("web"),
            labels: BTreeMap::new(),
            ports: BTreeMap::new(),
            proxy: None,
            able: true,
        };
        discovery.apply(&[Change::PutPod(Arc::new(pod))]);
        let journal = folder.join("registrations.jsonl");
        let registry = Registry::open(&journal, Arc::clone(&discovery), Duration::ZERO, Duration::ZERO);
        registry.register(workload("shop", "cart-1", &[("cart", 80)], 1)).unwrap();
        TrafficService {
            traffic: Arc::new(Traffic::new(Arc::clone(&metrics))),
            registry: Arc::new(registry),
            discovery,
            config: Arc::default(),
            authenticator: Authenticator::new(
                Arc::new(HandshakeErrors::new(metrics)),
                tokio::sync::watch::channel(Arc::default()).1,
            ),
            stop: CancellationToken::new(),
        }
    }

    #[tokio::test]
    async fn pods_and_registered_workloads_report_under_their_own_identity_alone() {
        let folder = tempfile::tempdir().unwrap();
        let service = service(folder.path());
        let begin = |account: &str, workload: &str| {
            let report = TelemetryReport { workload_id: workload.to_owned(), ..TelemetryReport::default() };
            let began = service.begin(&identity(account), &http::Extensions::new(), &report);
            began.map(|reporting| reporting.reporter().workload.clone()).map_err(|status| status.code())
        };
        assert_eq!(begin("web", "web-1.shop"), Ok("web-1.shop".to_owned()));
        assert_eq!(begin("web", "cart-1"), Err(Code::FailedPrecondition));
        assert_eq!(begin("other", "web-1.shop"), Err(Code::PermissionDenied));
        assert_eq!(begin("web", "web-2.shop"), Err(Code::FailedPrecondition));
        service.discovery.apply(&[Change::RemovePod(Pod::id("shop", "web-1"))]);
        assert_eq!(begin("web", "web-1.shop"), Err(Code::FailedPrecondition));
    }
}
