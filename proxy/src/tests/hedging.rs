//! Requests that are sent to another endpoint as well.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::Instant;
use weft_proto::v1;

use super::detection::dial;
use super::world::*;
use crate::http::body::Body;
use crate::observe::access::{Message, Mode, Share};
use crate::observe::stats::HedgeOutcome;

/// After 50 ms, two at once.
fn hedging() -> v1::Hedging {
    v1::Hedging { delay: Some(millis(50)), attempts: 2, all_methods: false }
}

fn hedged(hedging: v1::Hedging) -> v1::BackendPolicy {
    let retry_budget = Some(v1::RetryBudget { min_retries_per_second: 1000, ..v1::RetryBudget::default() });
    v1::BackendPolicy { hedging: Some(hedging), retry_budget, ..v1::BackendPolicy::default() }
}

fn two(hop: v1::Hop) -> [v1::Endpoint; 2] {
    [endpoint(2, hop), endpoint(3, hop)]
}

/// Counts those that ended without having answered.
struct Unanswered(Rc<Cell<u64>>, bool);

impl Drop for Unanswered {
    fn drop(&mut self) {
        self.0.set(self.0.get() + u64::from(!self.1));
    }
}

/// Applications at these hosts that answer after a time, with what was received and by whom.
fn slow(hosts: &[u8], time: Duration) -> Rc<RefCell<Vec<(u8, usize)>>> {
    let calls = Rc::new(RefCell::new(Vec::new()));
    for host in hosts.iter().copied() {
        let calls = Rc::clone(&calls);
        application(host, move |request| {
            let calls = Rc::clone(&calls);
            async move {
                let body = request.into_body().collect().await.unwrap().to_bytes();
                calls.borrow_mut().push((host, body.len()));
                tokio::time::sleep(time).await;
                Response::new(Body::Empty)
            }
        });
    }
    calls
}

#[tokio::test(start_paused = true)]
async fn the_first_answer_is_taken_and_the_other_attempt_is_reset_on_every_kind_of_hop() {
    for hop in [v1::Hop::Weft, v1::Hop::Standard, v1::Hop::Plain] {
        local(async {
            let mesh = Mesh::new(&protected(hedged(hedging())), &two(hop));
            if hop != v1::Hop::Plain {
                mesh.sidecar(2, &v1::Inbound::default());
                mesh.sidecar(3, &v1::Inbound::default());
            }
            mesh.worker.shared.access.set(Mode::All, Share::default());
            let lines = mesh.worker.shared.access.open().unwrap();
            let (asked, given_up) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)));
            let (counter, unanswered) = (Rc::clone(&asked), Rc::clone(&given_up));
            application(2, move |_| {
                counter.set(counter.get() + 1);
                let counting = Unanswered(Rc::clone(&unanswered), false);
                async move {
                    std::future::pending::<()>().await;
                    drop(counting);
                    Response::new(Body::Empty)
                }
            });
            echo(3);
            let caller = Caller::new();
            for _ in 0..20 {
                let began = Instant::now();
                let request = request("GET", "http://reviews:9080/", Body::Empty);
                let answer = caller.send_http2(request).await.unwrap();
                assert_eq!(
                    (answer.status(), &answer.headers()["x-host"]),
                    (StatusCode::OK, &"3".parse().unwrap())
                );
                assert!(began.elapsed() < Duration::from_millis(100), "{hop:?}: {:?}", began.elapsed());
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            let hedges = mesh.worker.shared.stats.hedges(HedgeOutcome::Made);
            assert!(hedges > 0, "{hop:?}: the one that hangs was never asked");
            assert_eq!(mesh.worker.shared.stats.hedges(HedgeOutcome::Won), hedges, "{hop:?}");
            assert_eq!((asked.get(), given_up.get()), (hedges, hedges), "{hop:?}");
            assert_eq!((succeeded(&mesh), mesh.totals().retries), (20, hedges), "{hop:?}");
            let logged = lines.try_iter().filter_map(|message| match message {
                Message::Line(entry) => entry.hedges.zip(entry.attempts),
                Message::End(_) => None,
            });
            assert_eq!(logged.filter(|logged| *logged == (1, 2)).count() as u64, hedges, "{hop:?}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_must_not_be_processed_twice_is_sent_once_unless_route_or_policy_say_that_it_may() {
    let anything = v1::Hedging { all_methods: true, ..hedging() };
    let retrying = v1::HttpRule {
        retry: Some(v1::Retry { attempts: 1, codes: vec![503], ..v1::Retry::default() }),
        ..v1::HttpRule::default()
    };
    let plain = v1::HttpRule::default();
    for (method, rule, hedging, sent) in [
        ("GET", &plain, hedging(), 2),
        ("PUT", &plain, hedging(), 2),
        ("POST", &plain, hedging(), 1),
        ("POST", &retrying, hedging(), 2),
        ("POST", &plain, anything, 2),
    ] {
        local(async {
            let policy = hedged(hedging);
            let mesh = Mesh::new(&routed_and_protected(rule.clone(), policy), &two(v1::Hop::Weft));
            mesh.sidecar(2, &v1::Inbound::default());
            mesh.sidecar(3, &v1::Inbound::default());
            let calls = slow(&[2, 3], Duration::from_millis(200));
            let answer = Caller::new().send(request(method, "/", Body::full("abc"))).await.unwrap();
            assert_eq!(answer.status(), StatusCode::OK);
            assert_eq!(calls.borrow().len(), sent, "{method} {hedging:?}");
            assert!(calls.borrow().iter().all(|(_, bytes)| *bytes == 3));
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_body_is_sent_twice_only_where_it_is_kept_as_a_whole() {
    for (bytes, sent) in [(20_000, 2), (200_000, 1)] {
        local(async {
            let mesh = Mesh::new(&protected(hedged(hedging())), &two(v1::Hop::Weft));
            mesh.sidecar(2, &v1::Inbound::default());
            mesh.sidecar(3, &v1::Inbound::default());
            let calls = slow(&[2, 3], Duration::from_millis(200));
            let request = request("PUT", "/", Body::full(vec![1; bytes]));
            assert_eq!(Caller::new().send(request).await.unwrap().status(), StatusCode::OK);
            let calls = calls.borrow();
            assert_eq!(calls.len(), sent, "{bytes}");
            assert!(calls.iter().all(|(_, received)| *received == bytes), "{calls:?}");
            assert!(sent == 1 || calls[0].0 != calls[1].0, "at the same endpoint twice");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_request_that_is_still_being_sent_is_not_sent_twice() {
    local(async {
        let mesh = Mesh::new(&protected(hedged(hedging())), &two(v1::Hop::Weft));
        mesh.sidecar(2, &v1::Inbound::default());
        mesh.sidecar(3, &v1::Inbound::default());
        let calls = slow(&[2, 3], Duration::from_millis(10));
        let mut client = dial(&mesh);
        client
            .write_all(b"PUT / HTTP/1.1\r\nhost: reviews\r\ncontent-length: 10\r\n\r\nfirst")
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(180)).await;
        client.write_all(b"other").await.unwrap();
        let mut answer = [0; 12];
        client.read_exact(&mut answer).await.unwrap();
        assert_eq!(&answer, b"HTTP/1.1 200");
        assert_eq!(calls.borrow()[..].iter().map(|(_, bytes)| *bytes).collect::<Vec<_>>(), [10]);
        assert_eq!(mesh.worker.shared.stats.hedges(HedgeOutcome::Made), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn all_hedges_together_stay_within_the_budget_of_retries() {
    local(async {
        let budget = v1::RetryBudget { percent: 20, min_retries_per_second: 1, ..v1::RetryBudget::default() };
        let policy = v1::BackendPolicy { retry_budget: Some(budget), ..hedged(hedging()) };
        let mesh = Mesh::new(&protected(policy), &two(v1::Hop::Weft));
        mesh.sidecar(2, &v1::Inbound::default());
        mesh.sidecar(3, &v1::Inbound::default());
        let calls = slow(&[2, 3], Duration::from_millis(200));
        let caller = Caller::new();
        let answers = futures_util::future::join_all((0..100).map(|_| caller.get("/"))).await;
        assert!(answers.iter().all(|answer| answer.status() == StatusCode::OK));
        assert_eq!(calls.borrow().len(), 120);
        assert_eq!(mesh.worker.shared.stats.hedges(HedgeOutcome::Made), 20);
        assert_eq!(mesh.worker.shared.stats.hedges(HedgeOutcome::OverBudget), 80);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn where_there_is_no_other_endpoint_nothing_is_sent_twice() {
    local(async {
        let mesh = Mesh::new(&protected(hedged(hedging())), &[endpoint(2, v1::Hop::Weft)]);
        mesh.sidecar(2, &v1::Inbound::default());
        let calls = slow(&[2], Duration::from_millis(200));
        assert_eq!(Caller::new().get("/").await.status(), StatusCode::OK);
        assert_eq!(calls.borrow().len(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_fails_does_not_end_a_request_whose_other_attempt_may_be_answered() {
    local(async {
        let mesh = Mesh::new(&protected(hedged(hedging())), &two(v1::Hop::Weft));
        let called = Rc::new(Cell::new(0));
        for host in [2, 3] {
            mesh.sidecar(host, &v1::Inbound::default());
            let called = Rc::clone(&called);
            application(host, move |_| {
                called.set(called.get() + 1);
                let first = called.get() == 1;
                async move {
                    tokio::time::sleep(Duration::from_millis(if first { 80 } else { 200 })).await;
                    Response::builder().status(if first { 503 } else { 200 }).body(Body::Empty).unwrap()
                }
            });
        }
        let answer = Caller::new().get("/").await;
        assert_eq!((answer.status(), called.get()), (StatusCode::OK, 2));
    })
    .await;
}

fn grpc(path: &str) -> Request<Body> {
    let mut request = request("POST", path, Body::Empty);
    request.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    request
}

/// How often endpoints are asked that answer UNAVAILABLE after 80 ms, with or without pushing back.
async fn asked(pushback: Option<&'static str>, hedging: Option<v1::Hedging>) -> (usize, Duration) {
    local(async {
        let retry = v1::Retry { attempts: 4, grpc_codes: vec![14], ..v1::Retry::default() };
        let policy = v1::BackendPolicy { hedging, retry: Some(retry), ..hedged(v1::Hedging::default()) };
        let mesh = Mesh::new(&protected(policy), &[2, 3, 4].map(|host| endpoint(host, v1::Hop::Weft)));
        let called = Rc::new(Cell::new(0));
        for host in [2, 3, 4] {
            mesh.sidecar(host, &v1::Inbound::default());
            let called = Rc::clone(&called);
            application(host, move |_| {
                called.set(called.get() + 1);
                async move {
                    tokio::time::sleep(Duration::from_millis(80)).await;
                    let answer = Response::builder().header("grpc-status", "14");
                    let answer = match pushback {
                        Some(pushback) => answer.header("grpc-retry-pushback-ms", pushback),
                        None => answer,
                    };
                    answer.body(Body::Empty).unwrap()
                }
            });
        }
        let began = Instant::now();
        let answer = Caller::new().send_http2(grpc("http://reviews:9080/a.B/C")).await.unwrap();
        assert_eq!(answer.headers()["grpc-status"], "14");
        (called.get(), began.elapsed())
    })
    .await
}

#[tokio::test(start_paused = true)]
async fn a_server_that_pushes_back_is_asked_no_more_or_no_earlier() {
    let three = v1::Hedging { delay: Some(millis(50)), attempts: 3, all_methods: true };
    assert_eq!(asked(None, None).await.0, 5);
    assert_eq!(asked(Some("-1"), None).await.0, 1);
    let (calls, time) = asked(Some("2000"), None).await;
    assert_eq!(calls, 5);
    assert!(time >= Duration::from_secs(8), "{time:?}");
    // The second attempt is under way at 50 ms, and the third would be at 100 ms.
    assert_eq!(asked(Some("-1"), Some(three)).await.0, 2);
    assert!(asked(None, Some(three)).await.0 > 3);
}
