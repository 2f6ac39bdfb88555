//! Whatever is pushed, and whenever: what is known belongs to names, and what is set is what was told last.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::net::IpAddr;
use std::rc::Rc;

use http::HeaderMap;
use proptest::prelude::*;
use weft_mesh::balance::{Locality, PickContext as Wanted};
use weft_mesh::budget::BudgetPolicy;
use weft_mesh::filter::{Bucket, Limited, RateLimit};

use super::*;
use crate::error::Failure;
use crate::runtime::clock::now;
use crate::runtime::shared::Shared;
use crate::runtime::worker::Worker;
use crate::upstream::service::Attempt;

const IDS: [&str; 3] = ["1", "2", "3"];
/// Names that all stand for `shop/a:80`.
const NAMES: [&str; 2] = ["a:80", "a.shop:80"];

#[derive(Clone, Copy, Debug)]
enum Step {
    /// A destination is told anew: which, the budget's percentage and floor, the requests that its route allows a minute.
    Destination(usize, u32, u32, u32),
    /// The endpoints are told anew, with another weight of the first.
    Endpoints(u32),
    /// What the workload lets in is told anew, with this limit of requests a minute.
    Inbound(u32),
    /// A request that found its backend in this one of the destinations that were ever in force.
    Request(usize),
    Retry,
    /// Takes from the limit of the route, at a name.
    Route(usize),
    /// Takes from the limit at the workload.
    Arrive,
    /// Attempts to reach an endpoint, which fail.
    Fail,
    /// A request begins, and stays under way.
    Hold,
    Sleep(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..2_usize, prop::sample::select(vec![1_u32, 20, 100]), 1..4_u32, 1..5_u32)
            .prop_map(|(name, percent, floor, limit)| Step::Destination(name, percent, floor, limit)),
        2 => (1..9_u32).prop_map(Step::Endpoints),
        2 => (1..5_u32).prop_map(Step::Inbound),
        4 => any::<usize>().prop_map(Step::Request),
        4 => Just(Step::Retry),
        3 => (0..2_usize).prop_map(Step::Route),
        3 => Just(Step::Arrive),
        1 => Just(Step::Fail),
        1 => Just(Step::Hold),
        2 => (0..4000_u64).prop_map(Step::Sleep),
    ]
}

fn limit(requests: u32) -> v1::RateLimit {
    let interval = Some(prost_types::Duration { seconds: 60, nanos: 0 });
    v1::RateLimit { requests, interval, ..v1::RateLimit::default() }
}

fn destination(percent: u32, floor: u32, requests: u32) -> v1::Destination {
    let service = Some(v1::ServicePort { namespace: "shop".into(), name: "a".into(), port: 80 });
    let budget = v1::RetryBudget { percent, min_retries_per_second: floor, ..v1::RetryBudget::default() };
    let policy = v1::BackendPolicy { retry_budget: Some(budget), ..v1::BackendPolicy::default() };
    let backend = v1::Backend { service: service.clone(), policy: Some(policy), ..v1::Backend::default() };
    let target = Some(v1::weighted_backend::Target::Backend(backend.clone()));
    let filter = v1::HttpFilter { filter: Some(v1::http_filter::Filter::RateLimit(limit(requests))) };
    let rule = v1::HttpRule {
        filters: vec![filter],
        backends: vec![v1::WeightedBackend { weight: 1, target, filters: Vec::new() }],
        ..v1::HttpRule::default()
    };
    let id = v1::ResourceRef { kind: "HTTPRoute".into(), namespace: "shop".into(), name: "r".into() };
    let route = v1::HttpRoute { resource: Some(id), rules: vec![rule], ..v1::HttpRoute::default() };
    v1::Destination {
        service,
        backend: Some(backend),
        http_routes: vec![route],
        ..v1::Destination::default()
    }
}

/// A mesh of one proxy and what it has to come to, in the simplest way.
struct Pushed {
    model: Model,
    worker: Rc<Worker>,
    held: RefCell<Vec<Attempt>>,
    /// Every destination that was ever in force.
    seen: Vec<Arc<Destination>>,
    policy: BudgetPolicy,
    requests: Vec<Instant>,
    retries: Vec<Instant>,
    route: (u32, Arc<Bucket>),
    inbound: (u32, Arc<Bucket>),
    ejected: BTreeSet<String>,
}

impl Pushed {
    fn new() -> Self {
        let (shared, _) = Shared::new(1, Locality::default());
        let bucket = || Bucket::new(now());
        let mut pushed = Self {
            model: model(),
            worker: Worker::new(shared, Vec::new()),
            held: RefCell::default(),
            seen: Vec::new(),
            policy: BudgetPolicy::default(),
            requests: Vec::new(),
            retries: Vec::new(),
            route: (3, bucket()),
            inbound: (3, bucket()),
            ejected: BTreeSet::new(),
        };
        for name in NAMES {
            pushed.model.pin(name, now());
        }
        (0..NAMES.len()).for_each(|name| pushed.push_destination(name, 20, 3, 3));
        pushed.push_endpoints(1);
        pushed.push_inbound(3);
        pushed
    }

    fn push_destination(&mut self, name: usize, percent: u32, floor: u32, requests: u32) {
        let wire = destination(percent, floor, requests);
        let told = convert::destination_keeping(NAMES[name], &wire, self.model.kept()).unwrap();
        self.model.destination(NAMES[name], told);
        self.policy = BudgetPolicy {
            ratio: f64::from(percent) / 100.0,
            min_per_second: f64::from(floor),
            ..BudgetPolicy::default()
        };
        self.publish();
    }

    fn push_endpoints(&mut self, weight: u32) {
        for (index, id) in IDS.iter().enumerate() {
            let weight = if index == 0 { weight } else { 1 };
            let wire = v1::Endpoint {
                address: format!("10.0.0.{id}"),
                port: 80,
                weight,
                workload: (*id).into(),
                ..v1::Endpoint::default()
            };
            self.model.endpoint(&port("a"), convert::endpoint(id, &wire).unwrap());
        }
        self.model.endpoints_complete(&port("a"));
        self.publish();
    }

    fn push_inbound(&mut self, requests: u32) {
        let port = v1::InboundPort { rate_limit: Some(limit(requests)), ..v1::InboundPort::default() };
        let wire = v1::Inbound { default_port: Some(port), ..v1::Inbound::default() };
        let trust_domain = "mesh.test".parse().unwrap();
        let inbound = convert::inbound_keeping(&wire, &trust_domain, self.model.kept()).unwrap();
        self.model.set_inbound(inbound);
        self.inbound.0 = requests;
        self.publish();
    }

    fn publish(&mut self) {
        if let Some(snapshot) = self.model.publish(now()).snapshot {
            self.seen.extend(snapshot.destinations.values().flatten().cloned());
            self.worker.shared.snapshot.store(Arc::new(snapshot));
        }
    }

    fn destination(&self, name: usize) -> Arc<Destination> {
        let snapshot = self.worker.snapshot();
        Arc::clone(snapshot.destinations[NAMES[name]].as_ref().unwrap())
    }

    /// What a limit decides, and what the simplest one with these settings would.
    fn takes(limit: &RateLimit, (requests, bucket): &(u32, Arc<Bucket>)) -> (bool, bool) {
        let naive =
            RateLimit::new(*requests, std::time::Duration::from_mins(1), *requests, Arc::clone(bucket));
        let headers = HeaderMap::new();
        let request = Limited { identity: None, headers: &headers, source: IpAddr::from([10, 0, 0, 9]) };
        (limit.take_for(now(), request).is_ok(), naive.unwrap().take(now()).is_ok())
    }

    fn retry_is_allowed(&self) -> bool {
        // Whole seconds since the service was first used, which was when time began.
        let second = |at: &Instant| at.saturating_duration_since(self.requests[0]).as_secs();
        let current = second(&now());
        let within = |events: &[Instant], seconds| {
            events.iter().filter(|at| second(at) + seconds > current).count() as f64
        };
        within(&self.retries, 1) < self.policy.min_per_second
            || within(&self.retries, 10) + 1.0 <= self.policy.ratio * within(&self.requests, 10)
    }

    fn ejected_now(&self) -> BTreeSet<String> {
        let is_ejected = |id: &str| self.worker.shared.ejected.by(&port("a"), id) > 0;
        IDS.into_iter().filter(|id| is_ejected(id)).map(str::to_owned).collect()
    }
}

async fn agrees(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let mut it = Pushed::new();
    // The first request begins everything.
    let steps = [Step::Request(0)].into_iter().chain(steps);
    for step in steps {
        match step {
            Step::Destination(name, percent, floor, requests) => {
                it.push_destination(name, percent, floor, requests);
                // Both names show the same limit, each with what it was told.
                it.route.0 = requests;
            }
            Step::Endpoints(weight) => it.push_endpoints(weight),
            Step::Inbound(requests) => it.push_inbound(requests),
            Step::Request(stale) => {
                let backend = Arc::clone(&it.seen[stale % it.seen.len()].backend);
                let now = now();
                it.worker.service(&backend).count_request(it.worker.number, now);
                it.requests.push(now);
            }
            Step::Retry => {
                let service = it.worker.service(&it.seen[0].backend);
                let expected = it.retry_is_allowed();
                prop_assert_eq!(service.take_retry(now()), expected, "{:?}", it.policy);
                if expected {
                    it.retries.push(now());
                }
            }
            Step::Route(name) => {
                let destination = it.destination(name);
                let table = destination.routes.as_ref().unwrap();
                let (_, rule) = table.rules().next().unwrap();
                let limit = rule.filters.rate_limit.as_ref().unwrap();
                // Each name has the settings that it was told last.
                let settings = (limit.burst(), Arc::clone(&it.route.1));
                let (taken, naive) = Pushed::takes(limit, &settings);
                prop_assert_eq!(taken, naive);
            }
            Step::Arrive => {
                let inbound = Arc::clone(&it.worker.snapshot().inbound);
                let limit = inbound.default_port.rate_limit.as_ref().unwrap();
                let (taken, naive) = Pushed::takes(limit, &it.inbound);
                prop_assert_eq!(taken, naive);
            }
            Step::Fail => {
                let mut attempt = it.worker.service(&it.seen[0].backend).attempt(Wanted::default()).unwrap();
                it.ejected.insert(attempt.peer.endpoint().id.to_string());
                attempt.failed(&Failure::unprocessed(weft_mesh::reason::Reason::ConnectFailed, "no"));
            }
            Step::Hold => {
                let attempt = it.worker.service(&it.seen[0].backend).attempt(Wanted::default()).unwrap();
                it.held.borrow_mut().push(attempt);
            }
            Step::Sleep(millis) => tokio::time::sleep(std::time::Duration::from_millis(millis)).await,
        }
        it.worker.service(&it.seen[0].backend);
        prop_assert_eq!(&it.ejected_now(), &it.ejected);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]
    #[test]
    fn what_is_known_survives_and_what_is_set_is_what_was_told_last(steps in prop::collection::vec(step(), 1..80)) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(tokio::task::LocalSet::new().run_until(agrees(steps)))?;
    }
}
