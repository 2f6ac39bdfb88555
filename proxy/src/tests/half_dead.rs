//! Endpoints of which a part is dead, or most of them: what can be served is, whatever the protocol.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use http::{HeaderMap, Response, StatusCode};
use http_body::Frame;
use http_body_util::BodyExt as _;
use weft_proto::v1;

use super::network;
use super::world::*;
use crate::hop::tests::Frames;
use crate::http::body::Body;
use crate::observe::stats::RetryOutcome;

/// Two endpoints behind sidecars and what calls gRPC.
fn grpc_destination(policy: v1::BackendPolicy) -> v1::Destination {
    let backend =
        v1::Backend { protocol: v1::Protocol::Grpc.into(), policy: Some(policy), ..backend("reviews") };
    v1::Destination { backend: Some(backend), ..destination() }
}

/// A body that ends with a status of gRPC.
fn trailed(message: &'static str, status: &str) -> Body {
    let mut trailers = HeaderMap::new();
    trailers.insert("grpc-status", status.parse().unwrap());
    let message = (!message.is_empty()).then(|| Frame::data(message.into()));
    Body::Test(Frames::new(message.into_iter().chain([Frame::trailers(trailers)])))
}

/// A server of gRPC that answers with a status, in the head or in the trailers; counts its calls.
fn grpc_server(host: u8, status: &'static str, trailers_only: bool) -> Rc<Cell<u32>> {
    let calls = Rc::new(Cell::new(0));
    let counter = Rc::clone(&calls);
    application(host, move |_| {
        counter.set(counter.get() + 1);
        async move {
            let answer = Response::builder()
                .header("content-type", "application/grpc")
                .header("x-host", u32::from(host));
            if trailers_only {
                return answer.header("grpc-status", status).body(Body::Empty).unwrap();
            }
            answer.body(trailed("\0\0\0\0\0", status)).unwrap()
        }
    });
    calls
}

/// The status of a call, wherever it stands.
async fn call(caller: &Caller) -> String {
    let mut call = request("POST", "http://reviews:9080/shop.Reviews/Get", Body::full("\0\0\0\0\0"));
    call.headers_mut().insert("content-type", "application/grpc".parse().unwrap());
    let (head, body) = caller.send_http2(call).await.unwrap().into_parts();
    let trailers = body.collect().await.unwrap().trailers().cloned();
    let status = head.headers.get("grpc-status").or(trailers.as_ref().and_then(|it| it.get("grpc-status")));
    status.unwrap().to_str().unwrap().to_owned()
}

fn sidecars(mesh: &Mesh, hosts: &[u8]) {
    for host in hosts {
        mesh.sidecar(*host, &v1::Inbound::default());
    }
}

fn meshed(destination: &v1::Destination, hosts: &[u8]) -> Mesh {
    let endpoints: Vec<_> = hosts.iter().map(|host| endpoint(*host, v1::Hop::Weft)).collect();
    Mesh::new(destination, &endpoints)
}

#[tokio::test(start_paused = true)]
async fn a_sidecar_whose_application_has_ended_costs_no_call_of_grpc() {
    local(async {
        let mesh = meshed(&grpc_destination(v1::BackendPolicy::default()), &[2, 3]);
        sidecars(&mesh, &[2, 3]);
        let calls = grpc_server(3, "0", false);
        let caller = Caller::new();
        for _ in 0..100 {
            assert_eq!(call(&caller).await, "0");
        }
        assert_eq!(calls.get(), 100);
        assert_eq!(mesh.worker.shared.stats.ejections(), 1, "one answer of the sidecar's ejects");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_sidecar_that_lets_nothing_more_in_costs_no_call_of_grpc() {
    local(async {
        let mesh = meshed(&grpc_destination(v1::BackendPolicy::default()), &[2, 3]);
        let one = v1::AdaptiveConcurrency {
            min_requests: 1,
            max_requests: 1,
            ..v1::AdaptiveConcurrency::default()
        };
        let port = v1::InboundPort { adaptive_concurrency: Some(one), ..v1::InboundPort::default() };
        mesh.sidecar(2, &v1::Inbound { default_port: Some(port), ..v1::Inbound::default() });
        mesh.sidecar(3, &v1::Inbound::default());
        application(2, |_| std::future::pending());
        grpc_server(3, "0", false);
        let (mut at_work, mut answered) = (Vec::new(), 0);
        for _ in 0..50 {
            let call = tokio::task::spawn_local(async { call(&Caller::new()).await });
            tokio::time::sleep(Duration::from_secs(1)).await;
            if call.is_finished() {
                assert_eq!(call.await.unwrap(), "0");
                answered += 1;
            } else {
                at_work.push(call);
            }
        }
        assert_eq!((at_work.len(), answered), (1, 49), "one is all that it takes");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn statuses_of_grpc_eject_as_those_of_http_do() {
    for (status, trailers_only, calls_until_ejection) in [
        ("14", true, 5),
        ("14", false, 5),
        ("13", true, 10),
        ("13", false, 10),
        ("5", false, 0),
        ("8", true, 0),
    ] {
        local(async {
            let policy =
                v1::BackendPolicy { balancer: v1::Balancer::Random.into(), ..v1::BackendPolicy::default() };
            let mesh = meshed(&grpc_destination(policy), &[2, 3]);
            sidecars(&mesh, &[2, 3]);
            let failing = grpc_server(2, status, trailers_only);
            grpc_server(3, "0", false);
            let caller = Caller::new();
            for _ in 0..100 {
                call(&caller).await;
            }
            let expected =
                if calls_until_ejection > 0 { (calls_until_ejection, 1) } else { (failing.get(), 0) };
            assert_eq!(
                (failing.get(), mesh.worker.shared.stats.ejections()),
                expected,
                "{status} {trailers_only}"
            );
            assert!(calls_until_ejection > 0 || failing.get() > 20, "{status}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_probe_of_grpc_is_judged_by_its_status() {
    local(async {
        let policy =
            v1::BackendPolicy { balancer: v1::Balancer::Random.into(), ..v1::BackendPolicy::default() };
        let mesh = meshed(&grpc_destination(policy), &[2, 3]);
        sidecars(&mesh, &[2, 3]);
        let failing = grpc_server(2, "14", true);
        grpc_server(3, "0", false);
        let caller = Caller::new();
        for _ in 0..50 {
            call(&caller).await;
        }
        assert_eq!(failing.get(), 5);
        // A head and trailers without any message between them.
        application(2, |_| async {
            Response::builder().header("content-type", "application/grpc").body(trailed("", "14")).unwrap()
        });
        tokio::time::sleep(Duration::from_millis(1300)).await;
        let mut statuses = Vec::new();
        for _ in 0..50 {
            statuses.push(call(&caller).await);
        }
        assert_eq!(statuses.iter().filter(|status| *status == "14").count(), 1, "the probe alone");
    })
    .await;
}

fn answering(host: u8, status: u16) -> Rc<Cell<u32>> {
    let calls = Rc::new(Cell::new(0));
    let counter = Rc::clone(&calls);
    application(host, move |_| {
        counter.set(counter.get() + 1);
        async move { Response::builder().status(status).body(Body::Empty).unwrap() }
    });
    calls
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_answers_500_to_everything_gets_next_to_nothing() {
    local(async {
        let mesh = meshed(&destination(), &[2, 3]);
        sidecars(&mesh, &[2, 3]);
        let failing = answering(2, 500);
        application(3, |_| async {
            tokio::time::sleep(Duration::from_millis(20)).await;
            Response::new(Body::Empty)
        });
        let caller = Caller::new();
        for _ in 0..1000 {
            caller.get("/").await;
        }
        assert!(failing.get() <= 5, "{}", failing.get());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn ten_failures_in_a_row_eject_and_the_policy_says_how_many() {
    for (consecutive_5xx, expected) in [(0, 10), (3, 3)] {
        local(async {
            let detection = v1::OutlierDetection { consecutive_5xx, ..v1::OutlierDetection::default() };
            let policy = v1::BackendPolicy {
                outlier_detection: Some(detection),
                balancer: v1::Balancer::Random.into(),
                ..v1::BackendPolicy::default()
            };
            let mesh = meshed(&protected(policy), &[2, 3]);
            sidecars(&mesh, &[2, 3]);
            let failing = answering(2, 500);
            answering(3, 200);
            let caller = Caller::new();
            for _ in 0..100 {
                caller.get("/").await;
            }
            assert_eq!((failing.get(), mesh.worker.shared.stats.ejections()), (expected, 1));
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn when_all_fail_half_are_kept() {
    local(async {
        let mesh = meshed(&destination(), &[2, 3, 4, 5]);
        sidecars(&mesh, &[2, 3, 4, 5]);
        let _calls = [2, 3, 4, 5].map(|host| answering(host, 500));
        let caller = Caller::new();
        for _ in 0..300 {
            assert_eq!(caller.get("/").await.status(), StatusCode::INTERNAL_SERVER_ERROR);
        }
        let service = "shop/reviews:9080".parse().unwrap();
        let ejected = [2, 3, 4, 5]
            .into_iter()
            .filter(|host| mesh.worker.shared.ejected.by(&service, &format!("reviews-{host}")) > 0);
        assert!(ejected.count() <= 2);
    })
    .await;
}

/// A budget that no request of the test can do with.
fn no_budget() -> v1::BackendPolicy {
    let budget = v1::RetryBudget { percent: 1, min_retries_per_second: 1, ..v1::RetryBudget::default() };
    v1::BackendPolicy { retry_budget: Some(budget), ..v1::BackendPolicy::default() }
}

#[tokio::test(start_paused = true)]
async fn all_requests_reach_the_last_endpoint_that_lives() {
    const HOSTS: [u8; 8] = [2, 3, 4, 5, 6, 7, 8, 9];
    for without_sidecar in [true, false] {
        local(async {
            let mesh = meshed(&protected(no_budget()), &HOSTS);
            sidecars(&mesh, &HOSTS);
            HOSTS.into_iter().for_each(echo);
            let post =
                || async { Caller::new().send(request("POST", "/", Body::full("once"))).await.unwrap() };
            for answer in join_all((0..40).map(|_| post())).await {
                assert_eq!(answer.status(), StatusCode::OK);
            }
            for host in &HOSTS[..7] {
                network::refuse(application_at(*host));
                if without_sidecar {
                    network::refuse(inbound(*host));
                }
            }
            // Callers keep no connection that the proxy has to an endpoint: those are new ones of another certificate.
            mesh.rotate();
            for round in 0..10 {
                for answer in join_all((0..20).map(|_| post())).await {
                    assert_eq!(answer.status(), StatusCode::OK, "round {round}");
                    assert_eq!(answer.headers()["x-host"], "9");
                }
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
            let stats = &mesh.worker.shared.stats;
            assert_eq!(stats.retries(RetryOutcome::OverBudget), 0);
            assert!(stats.retries(RetryOutcome::Moved) >= 7);
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_ejected_endpoint_that_is_well_again_is_used_when_the_others_die() {
    local(async {
        let detection =
            v1::OutlierDetection { base_ejection: Some(millis(60_000)), ..v1::OutlierDetection::default() };
        let policy = v1::BackendPolicy { outlier_detection: Some(detection), ..no_budget() };
        let mesh = meshed(&protected(policy), &[2, 3]);
        sidecars(&mesh, &[3]);
        [2, 3].into_iter().for_each(echo);
        let caller = Caller::new();
        for _ in 0..20 {
            assert_eq!(caller.get("/").await.headers()["x-host"], "3");
        }
        assert_eq!(mesh.worker.shared.stats.ejections(), 1);
        sidecars(&mesh, &[2]);
        network::refuse(inbound(3));
        mesh.rotate();
        for _ in 0..20 {
            let answer = caller.send(request("POST", "/", Body::full("once"))).await.unwrap();
            assert_eq!(
                (answer.status(), &answer.headers()["x-host"]),
                (StatusCode::OK, &"2".parse().unwrap())
            );
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn connections_of_tcp_reach_the_last_endpoint_that_lives() {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    local(async {
        let backend = v1::Backend { protocol: v1::Protocol::Tcp.into(), ..backend("reviews") };
        let tcp =
            v1::Destination { protocol: v1::Protocol::Tcp.into(), backend: Some(backend), ..destination() };
        let hosts = [2, 3, 4, 5, 6, 7];
        let mesh = meshed(&tcp, &hosts);
        sidecars(&mesh, &[7]);
        network::listen(application_at(7), |mut stream| async move {
            let _ = stream.write_all(b"7").await;
        });
        let listener = at(1, 16_000);
        let worker = Rc::clone(&mesh.worker);
        network::listen(listener, move |stream| {
            let target = crate::outbound::Target::Fixed("reviews:9080".into());
            let downstream = Rc::new(crate::outbound::Downstream::new(target, at(1, 40_000)));
            crate::outbound::connection(
                Rc::clone(&worker),
                stream,
                downstream,
                weft_mesh::protocol::Protocol::Tcp,
            )
        });
        let answers = RefCell::new(Vec::new());
        for _ in 0..10 {
            let mut stream = network::connect(listener).unwrap().await.unwrap();
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer).await;
            answers.borrow_mut().push(answer);
        }
        assert!(answers.borrow().iter().all(|answer| answer == "7"), "{answers:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn workers_share_one_budget_of_retries() {
    use crate::runtime::shared::Shared;
    use crate::runtime::worker::Worker;
    local(async {
        for workers in [1, 2, 5] {
            let mesh = meshed(&destination(), &[2]);
            let backend = {
                let snapshot = mesh.worker.snapshot();
                std::sync::Arc::clone(&snapshot.destinations["reviews:9080"].as_ref().unwrap().backend)
            };
            let (shared, _) = Shared::new(workers, weft_mesh::balance::Locality::default());
            let workers: Vec<_> =
                (0..workers).map(|_| Worker::new(std::sync::Arc::clone(&shared), Vec::new())).collect();
            let services: Vec<_> = workers.iter().map(|worker| worker.service(&backend)).collect();
            let now = crate::runtime::clock::now();
            let taken: usize =
                services.iter().map(|service| (0..10).filter(|_| service.take_retry(now)).count()).sum();
            assert_eq!(taken, 3);
            let later = now + Duration::from_secs(1);
            for _ in 0..50 {
                for (service, worker) in services.iter().zip(&workers) {
                    service.count_request(worker.number, later);
                }
            }
            let requests = services.len() * 50;
            let taken: usize =
                services.iter().map(|service| (0..1000).filter(|_| service.take_retry(later)).count()).sum();
            assert_eq!(taken, (requests / 5).saturating_sub(3).max(3), "{requests}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_never_answers_costs_all_who_wait_one_attempt_each_time() {
    for (hop, protocol) in [
        (v1::Hop::Weft, v1::Protocol::Http1),
        (v1::Hop::Plain, v1::Protocol::Http2),
        (v1::Hop::Plain, v1::Protocol::Detect),
    ] {
        for others in [&[][..], &[3]] {
            local(async {
                let backend = v1::Backend { protocol: protocol.into(), ..backend("reviews") };
                let destination = v1::Destination { backend: Some(backend), ..destination() };
                let endpoints: Vec<_> = [2].iter().chain(others).map(|host| endpoint(*host, hop)).collect();
                let mesh = Mesh::new(&destination, &endpoints);
                sidecars(&mesh, others);
                others.iter().copied().for_each(echo);
                network::silence(if hop == v1::Hop::Weft { inbound(2) } else { application_at(2) });
                let began = tokio::time::Instant::now();
                let get = || async {
                    let request = request("GET", "http://reviews:9080/", Body::Empty);
                    Caller::new().send_http2(request).await.unwrap().status()
                };
                let statuses = join_all((0..50).map(|_| get())).await;
                let took = began.elapsed();
                if others.is_empty() {
                    assert!(statuses.iter().all(|status| *status == StatusCode::SERVICE_UNAVAILABLE));
                    assert!(took < Duration::from_secs(8), "six attempts of a second each: {took:?}");
                } else {
                    assert!(statuses.iter().all(|status| *status == StatusCode::OK), "{hop:?}: {statuses:?}");
                    assert!(took < Duration::from_millis(1500), "{hop:?}: {took:?}");
                }
            })
            .await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn requests_that_wait_for_a_connection_see_a_limit_that_was_raised() {
    local(async {
        let at_most = |max_connections| {
            let policy = v1::BackendPolicy { max_connections, ..v1::BackendPolicy::default() };
            let backend = v1::Backend {
                protocol: v1::Protocol::Http1.into(),
                policy: Some(policy),
                ..backend("reviews")
            };
            v1::Destination { backend: Some(backend), ..destination() }
        };
        let endpoints = [endpoint(2, v1::Hop::Plain)];
        let mesh = Mesh::new(&at_most(1), &endpoints);
        sweep(&mesh.worker);
        application(2, |_| async {
            tokio::time::sleep(Duration::from_secs(100)).await;
            Response::new(Body::Empty)
        });
        let began = tokio::time::Instant::now();
        let calls: Vec<_> = (0..2)
            .map(|_| tokio::task::spawn_local(async { Caller::new().get("/").await.status() }))
            .collect();
        tokio::time::sleep(Duration::from_secs(10)).await;
        mesh.configure(&at_most(2), &endpoints);
        for call in calls {
            assert_eq!(call.await.unwrap(), StatusCode::OK);
        }
        assert!(began.elapsed() < Duration::from_secs(115), "{:?}", began.elapsed());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_a_quiet_caller_sends_is_shared_by_equal_endpoints() {
    local(async {
        let _mesh = Mesh::with_sidecars(&[2, 3, 4]);
        let calls = [2, 3, 4].map(|host| answering(host, 200));
        let caller = Caller::new();
        for _ in 0..200 {
            caller.get("/").await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(calls.iter().all(|calls| calls.get() > 33), "{calls:?}");
    })
    .await;
}
