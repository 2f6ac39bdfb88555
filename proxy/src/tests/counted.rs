//! What a proxy counts, logs and tells is what its clients count themselves, however a request ends.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response};
use http_body::Frame;
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use weft_proto::v1;
use weft_proto::v1::http_filter::Filter;
use weft_proto::v1::http_match::Path;
use weft_proto::v1::weighted_backend::Target;

use super::detection::dial;
use super::network;
use super::world::*;
use crate::control::told_of;
use crate::hop::tests::Frames;
use crate::http::body::Body;
use crate::http::server::ServerVersion;
use crate::observe::access::{Entry, Message, Mode, Share};
use crate::observe::stats::{Cause, Direction, LookupOutcome};
use crate::runtime::worker::Worker;

mod connections;
mod departed;
mod replies;

/// Requests of each case.
const TIMES: u64 = 3;
const SENT: &str = "seven b";

/// What becomes of a request.
#[derive(Clone, Copy, Debug, Default)]
struct Case {
    path: &'static str,
    sends: bool,
    grpc: bool,
    /// When the client goes away: before the head of the answer, or after.
    leaves: Option<Leaves>,
    /// The status that the client gets; 0: none.
    status: u16,
    failed: bool,
    reason: &'static str,
    retries: u64,
    /// Copies that go elsewhere.
    copies: u64,
    /// The workload that is to be blamed; empty: none was asked.
    workload: &'static str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leaves {
    BeforeHead,
    AfterHead,
}

const OK: Case = Case {
    path: "/ok",
    sends: false,
    grpc: false,
    leaves: None,
    status: 200,
    failed: false,
    reason: "",
    retries: 0,
    copies: 0,
    workload: "reviews-2",
};
const NOWHERE: Case = Case { workload: "", ..OK };

const CASES: [Case; 17] = [
    OK,
    Case { path: "/echo", sends: true, ..OK },
    Case { path: "/500", status: 500, failed: true, ..OK },
    Case { path: "/retry", retries: 1, ..OK },
    Case { path: "/mirror", sends: true, copies: 1, ..OK },
    Case { path: "/grpc", grpc: true, failed: true, ..OK },
    Case { path: "/cut", leaves: Some(Leaves::AfterHead), reason: "cancelled", ..OK },
    Case { path: "/hang", leaves: Some(Leaves::BeforeHead), reason: "cancelled", status: 0, ..OK },
    Case { path: "/late", status: 504, failed: true, reason: "request_timeout", ..OK },
    Case { path: "/slow", failed: true, reason: "request_timeout", ..OK },
    Case { path: "/abort", status: 503, failed: true, reason: "fault_abort", ..NOWHERE },
    Case { path: "/redirect", status: 302, reason: "redirect", ..NOWHERE },
    Case { path: "/unknown", status: 404, reason: "no_route", ..NOWHERE },
    Case { path: "/invalid", status: 500, failed: true, reason: "invalid_backend", ..NOWHERE },
    Case { path: "/nowhere", status: 503, failed: true, reason: "no_endpoints", ..NOWHERE },
    Case { path: "/nowhere", grpc: true, failed: true, reason: "no_endpoints", ..NOWHERE },
    Case { path: "/dead", status: 503, failed: true, reason: "connect_failed", workload: "dead-9", ..OK },
];

fn rule(path: &str) -> v1::HttpRule {
    let path = Some(Path::PathPrefix(path.to_owned()));
    v1::HttpRule {
        matches: vec![v1::HttpMatch { path, ..v1::HttpMatch::default() }],
        backends: vec![weighted("reviews", 1)],
        ..v1::HttpRule::default()
    }
}

fn to(path: &str, backends: Vec<v1::WeightedBackend>) -> v1::HttpRule {
    v1::HttpRule { backends, ..rule(path) }
}

fn with(path: &str, filter: Filter) -> v1::HttpRule {
    v1::HttpRule { filters: vec![v1::HttpFilter { filter: Some(filter) }], ..rule(path) }
}

fn rules() -> Vec<v1::HttpRule> {
    let fault = v1::Fault { abort_status: 503, abort_share: 1_000_000, ..v1::Fault::default() };
    let retry = v1::Retry { attempts: 1, codes: vec![503], ..v1::Retry::default() };
    let mirror = v1::Mirror { backend: Some(backend("shadow")), ..v1::Mirror::default() };
    let invalid = v1::WeightedBackend {
        weight: 1,
        target: Some(Target::Invalid("there is no such Service".into())),
        ..v1::WeightedBackend::default()
    };
    let within = |path| v1::HttpRule { request_timeout: Some(millis(500)), ..rule(path) };
    let mut rules = vec![
        with("/abort", Filter::Fault(fault)),
        with("/redirect", Filter::Redirect(v1::Redirect::default())),
        with("/mirror", Filter::Mirror(mirror)),
        v1::HttpRule { retry: Some(retry), ..rule("/retry") },
        within("/late"),
        within("/slow"),
        to("/invalid", vec![invalid]),
        to("/nowhere", vec![weighted("nowhere", 1)]),
        to("/dead", vec![weighted("dead", 1)]),
    ];
    rules.extend(["/ok", "/echo", "/500", "/grpc", "/cut", "/hang", "/denied"].map(rule));
    rules
}

/// What an application has got.
#[derive(Debug, Default)]
struct Application {
    seen: Cell<u64>,
    /// Whether it answered the last attempt at what has to be tried twice with a failure.
    failed: Cell<bool>,
}

/// The application, which does what the path says.
async fn application_of(app: Rc<Application>, request: Request<Incoming>) -> Response<Body> {
    app.seen.set(app.seen.get() + 1);
    let path = request.uri().path().to_owned();
    let data = |text: &'static str| Frame::data(Bytes::from(text));
    match &*path {
        "/500" => Response::builder().status(500).body(Body::Empty).unwrap(),
        "/retry" if !app.failed.replace(!app.failed.get()) => {
            Response::builder().status(503).body(Body::Empty).unwrap()
        }
        "/grpc" => {
            let trailers: HeaderMap =
                [("grpc-status".parse().unwrap(), "14".parse().unwrap())].into_iter().collect();
            Response::new(Body::Test(Frames::new([data("message"), Frame::trailers(trailers)])))
        }
        "/hang" | "/late" => std::future::pending().await,
        // A body that never ends.
        "/cut" | "/slow" => Response::new(Body::Test(Frames::stalling([data("beginning")]))),
        "/echo" | "/mirror" => Response::new(Body::from(request.into_body())),
        _ => Response::new(Body::full("hello")),
    }
}

/// What is counted on one side.
#[derive(Clone, Debug, Default, PartialEq)]
struct Counted {
    requests: u64,
    by_cause: BTreeMap<(usize, &'static str), u64>,
    failures: u64,
    retries: u64,
    copies: u64,
    sent: u64,
    received: u64,
    lookups: u64,
}

fn counted(worker: &Worker) -> Counted {
    let stats = &worker.shared.stats;
    let (totals, copies) = (totals(worker), summed(worker, |key| key.mirrored));
    let told = told_of(stats).into_iter().filter(|edge| !edge.mirrored);
    if stats.edges().iter().all(|(key, _)| key.direction == Direction::Outbound) {
        let told = told.fold([0; 5], |sum, edge| {
            let causes: u64 = edge.causes.iter().map(|cause| cause.count).sum();
            let counts = [edge.requests, edge.failures, edge.bytes_sent, edge.bytes_received, causes];
            std::array::from_fn(|at| sum[at] + counts[at])
        });
        let caused = totals.causes().map(|(_, count)| count).sum();
        let expected = [totals.requests(), totals.failures, totals.bytes_sent, totals.bytes_received, caused];
        assert_eq!(told, expected, "what is told to the control plane");
    }
    let lookups = [LookupOutcome::Hit, LookupOutcome::Miss, LookupOutcome::Absent, LookupOutcome::Timeout];
    Counted {
        requests: totals.requests(),
        by_cause: totals
            .by_cause()
            .map(|(class, cause, count)| ((class, cause.map_or("", Cause::label)), count))
            .collect(),
        failures: totals.failures,
        retries: totals.retries,
        copies: copies.requests(),
        sent: totals.bytes_sent,
        received: totals.bytes_received,
        lookups: lookups.into_iter().map(|outcome| stats.lookups(outcome)).sum(),
    }
}

fn logging(worker: &Worker) -> Receiver<Message> {
    worker.shared.access.set(Mode::All, Share::default());
    worker.shared.access.open().unwrap()
}

fn lines(messages: &Receiver<Message>) -> Vec<Entry> {
    let entries = messages.try_iter().filter_map(|message| match message {
        Message::Line(entry) => Some(*entry),
        Message::End(_) => None,
    });
    entries.collect()
}

/// Sends a request and gives the bytes that came back; the client may leave.
async fn send(caller: &Caller, version: ServerVersion, case: &Case) -> u64 {
    let uri = format!("http://reviews:9080{}", case.path);
    let body = if case.sends { Body::full(SENT) } else { Body::Empty };
    let mut request = request(if case.sends { "POST" } else { "GET" }, &uri, body);
    if case.grpc {
        request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    }
    let sending = async {
        match version {
            ServerVersion::Http1 => caller.send(request).await,
            ServerVersion::Http2 => caller.send_http2(request).await,
        }
    };
    if case.leaves == Some(Leaves::BeforeHead) {
        assert!(tokio::time::timeout(Duration::from_secs(1), sending).await.is_err());
        return 0;
    }
    let response = sending.await.unwrap();
    assert_eq!(response.status().as_u16(), case.status, "{case:?}");
    let mut body = response.into_body();
    let mut received = 0;
    while let Some(Ok(frame)) = body.frame().await {
        received += frame.data_ref().map_or(0, Bytes::len) as u64;
        if case.leaves.is_some() {
            return received;
        }
    }
    received
}

/// What one case adds to what a side has counted.
fn added(before: &mut Counted, case: &Case, received: u64) {
    before.requests += TIMES;
    *before.by_cause.entry((usize::from(case.status / 100), case.reason)).or_default() += TIMES;
    before.failures += TIMES * u64::from(case.failed);
    before.retries += TIMES * case.retries;
    before.copies += TIMES * case.copies;
    before.sent += if case.sends { TIMES * SENT.len() as u64 } else { 0 };
    before.received += received;
    before.lookups += TIMES;
}

async fn same_for_client_proxy_and_application(version: ServerVersion, hop: v1::Hop) {
    let mut destination = routed(v1::HttpRule::default());
    destination.http_routes[0].rules = rules();
    let endpoints = [endpoint(2, hop), endpoint_of("shadow", 3, hop), endpoint_of("dead", 9, hop)];
    let mesh = Mesh::new(&destination, &endpoints);
    let far = mesh.sidecar(2, &v1::Inbound::default());
    let shadow = mesh.sidecar(3, &v1::Inbound::default());
    let messages = logging(&mesh.worker);
    let (reviews, copied) = (Rc::<Application>::default(), Rc::<Application>::default());
    for (host, app) in [(2, &reviews), (3, &copied)] {
        let app = Rc::clone(app);
        application(host, move |request| application_of(Rc::clone(&app), request));
    }
    let mut expected = Counted::default();
    let caller = Caller::new();
    for case in CASES {
        // A client of HTTP/1 gets no trailers that it has not asked for.
        if case.path == "/grpc" && version == ServerVersion::Http1 {
            continue;
        }
        let mut received = 0;
        for _ in 0..TIMES {
            received += send(&caller, version, &case).await;
        }
        // What goes elsewhere, and what the client does not wait for, ends a little later.
        tokio::time::sleep(Duration::from_secs(1)).await;
        added(&mut expected, &case, received);
        if case.reason == "connect_failed" {
            // As often as the budget allows.
            expected.retries = counted(&mesh.worker).retries;
        }
        assert_eq!(counted(&mesh.worker), expected, "{version:?} {hop:?} {case:?}");
        let logged = lines(&messages);
        assert_eq!(logged.len() as u64, TIMES, "{case:?}");
        for line in logged {
            let cut_off = case.reason == "cancelled";
            assert_eq!(line.status.unwrap_or_default(), case.status, "{case:?}");
            assert_eq!(line.cut_off, cut_off, "{case:?}");
            assert_eq!(line.reason.unwrap_or_default(), if cut_off { "" } else { case.reason }, "{case:?}");
            assert_eq!(&*line.workload, case.workload, "{case:?}");
            assert_eq!(line.bytes_sent, received / TIMES, "{case:?}");
            assert_eq!(line.destination.unwrap().to_string(), "shop/reviews:9080", "{case:?}");
        }
    }
    let blamed = summed(&mesh.worker, |key| {
        key.backend.as_ref().is_some_and(|backend| backend.service.name() == "nowhere")
    });
    assert_eq!((blamed.requests(), blamed.failures), (2 * TIMES, 2 * TIMES), "a service that is down");
    if hop != v1::Hop::Plain {
        assert_eq!(totals(&far).requests(), reviews.seen.get(), "{hop:?}: what its application got");
        assert_eq!(counted(&far).sent, expected.sent);
        let at_shadow =
            if hop == v1::Hop::Weft { counted(&shadow).copies } else { totals(&shadow).requests() };
        assert_eq!((at_shadow, copied.seen.get()), (TIMES, TIMES));
    }
}

#[tokio::test(start_paused = true)]
async fn requests_are_counted_as_their_clients_count_them_over_every_kind_of_hop() {
    for version in [ServerVersion::Http1, ServerVersion::Http2] {
        for hop in [v1::Hop::Weft, v1::Hop::Standard, v1::Hop::Plain] {
            local(same_for_client_proxy_and_application(version, hop)).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_far_sidecar_answers_is_counted_on_both_sides_with_its_reason() {
    local(async {
        let mesh = Mesh::with_sidecars(&[2]);
        let denying = v1::AuthorizationPolicy {
            resource: Some(v1::ResourceRef {
                kind: "AuthorizationPolicy".into(),
                namespace: "shop".into(),
                name: "policy".into(),
            }),
            action: v1::AuthorizationAction::Deny.into(),
            rules: vec![v1::AuthorizationRule { paths: vec!["/denied".into()], ..Default::default() }],
            ..v1::AuthorizationPolicy::default()
        };
        let port = v1::InboundPort { authorization: vec![denying], ..v1::InboundPort::default() };
        let far = mesh.sidecar(2, &v1::Inbound { default_port: Some(port), ..v1::Inbound::default() });
        let messages = logging(&mesh.worker);
        let caller = Caller::new();
        assert_eq!(caller.get("/denied").await.status(), 403);
        // The application is not there.
        assert_eq!(caller.get("/ok").await.status(), 503);
        let (near, far) = (counted(&mesh.worker), counted(&far));
        let attempts = lines(&messages).iter().filter_map(|line| line.attempts).map(u64::from).max();
        // The far side counts each attempt.
        for (side, attempts) in [(&near, 1), (&far, attempts.unwrap())] {
            let reasons: Vec<_> = side.by_cause.iter().map(|(what, count)| (*what, *count)).collect();
            assert_eq!(reasons, [((4, "denied"), 1), ((5, "connect_failed"), attempts)]);
            assert_eq!(side.failures, attempts, "what policies deny is no failure");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_request_that_cannot_be_read_and_one_for_outside_are_counted_apart_from_every_service() {
    local(async {
        let mesh = Mesh::with_sidecars(&[2]);
        let messages = logging(&mesh.worker);
        mesh.answer_lookups();
        network::name("elsewhere.test:9080", &[application_at(7)]);
        echo(7);
        let caller = Caller::new();
        let mut outside = request("POST", "/", Body::full(SENT));
        outside.headers_mut().insert("host", "elsewhere.test:9080".parse().unwrap());
        assert_eq!(whole(caller.send(outside).await.unwrap()).await.body(), SENT);
        let mut raw = network::connect(outbound()).unwrap().await.unwrap();
        raw.write_all(b"GET / HTTP/1.1\r\nno field\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        raw.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
        let counted = counted(&mesh.worker);
        let by_cause: Vec<_> = counted.by_cause.into_iter().collect();
        assert_eq!(by_cause, [((2, ""), 1), ((4, "bad_request"), 1)]);
        assert_eq!((counted.sent, counted.received, counted.failures), (7, 7, 0));
        assert!(mesh.worker.shared.stats.edges().iter().all(|(key, _)| key.destination.is_none()));
        assert_eq!(mesh.worker.shared.stats.lookups(LookupOutcome::Absent), 1);
        let lines = lines(&messages);
        assert_eq!(lines.iter().map(|line| line.status.unwrap()).collect::<Vec<_>>(), [200, 400]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn one_of_several_attempts_is_the_request_and_the_others_are_retries() {
    local(async {
        let hedging = v1::Hedging { delay: Some(millis(50)), attempts: 2, all_methods: false };
        let budget = v1::RetryBudget { min_retries_per_second: 1000, ..v1::RetryBudget::default() };
        let policy = v1::BackendPolicy {
            hedging: Some(hedging),
            retry_budget: Some(budget),
            ..v1::BackendPolicy::default()
        };
        let endpoints = [endpoint(2, v1::Hop::Weft), endpoint(3, v1::Hop::Weft)];
        let mesh = Mesh::new(&protected(policy), &endpoints);
        let messages = logging(&mesh.worker);
        let far: Vec<_> = [2, 3].map(|host| mesh.sidecar(host, &v1::Inbound::default())).into();
        let attempts = Rc::new(Cell::new(0));
        for host in [2, 3] {
            let attempts = Rc::clone(&attempts);
            application(host, move |_| {
                attempts.set(attempts.get() + 1);
                async move {
                    tokio::time::sleep(Duration::from_millis(80)).await;
                    Response::new(Body::full("hello"))
                }
            });
        }
        let caller = Caller::new();
        for _ in 0..10 {
            let answer =
                caller.send_http2(request("GET", "http://reviews:9080/", Body::Empty)).await.unwrap();
            assert_eq!(whole(answer).await.body(), "hello");
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
        let near = counted(&mesh.worker);
        assert_eq!((near.requests, near.failures, near.received), (10, 0, 50));
        assert_eq!(near.requests + near.retries, attempts.get());
        assert!(near.retries > 0);
        let far: Vec<_> = far.iter().map(|worker| counted(worker)).collect();
        assert_eq!(far.iter().map(|far| far.requests).sum::<u64>(), attempts.get());
        let cancelled: u64 = far.iter().filter_map(|far| far.by_cause.get(&(0, "cancelled"))).sum();
        assert_eq!(cancelled, near.retries, "whoever answers too late is cancelled");
        assert_eq!(
            lines(&messages).iter().filter_map(|line| line.attempts).map(u64::from).sum::<u64>(),
            attempts.get()
        );
    })
    .await;
}

/// The inbound side keeps no more for many connections than for one.
#[tokio::test(start_paused = true)]
async fn short_connections_take_no_memory_that_lasts() {
    local(async {
        let mesh = Mesh::with_sidecars(&[]);
        let sidecar = mesh.sidecar(2, &v1::Inbound::default());
        let greeted = RefCell::new(0);
        echo(2);
        for _ in 0..300 {
            let mut stream = network::connect(inbound(2)).unwrap().await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
            *greeted.borrow_mut() += 1;
        }
        assert_eq!((totals(&sidecar).requests(), *greeted.borrow()), (300, 300));
        assert_eq!(sidecar.shared.stats.shards(), 1, "nobody has scraped");
    })
    .await;
}
