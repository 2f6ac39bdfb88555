//! Requests that succeed although something failed.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use http::{Response, StatusCode};
use weft_proto::v1;

use super::network;
use super::world::*;
use crate::http::body::Body;

fn retrying(codes: &[u32]) -> v1::HttpRule {
    let retry = v1::Retry { attempts: 2, codes: codes.to_vec(), ..v1::Retry::default() };
    v1::HttpRule { retry: Some(retry), ..v1::HttpRule::default() }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_refuses_costs_no_request() {
    local(async {
        let mesh = Mesh::with_sidecars(&[2, 3]);
        echo(2);
        echo(3);
        network::refuse(inbound(2));
        let caller = Caller::new();
        for _ in 0..20 {
            let response = caller.get("/").await;
            assert_eq!(
                (response.status(), &response.headers()["x-host"]),
                (StatusCode::OK, &"3".parse().unwrap())
            );
        }
        assert_eq!(succeeded(&mesh), 20);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_application_that_is_gone_behind_its_sidecar_costs_no_request() {
    local(async {
        let _mesh = Mesh::with_sidecars(&[2, 3]);
        echo(3);
        let caller = Caller::new();
        for _ in 0..20 {
            let response =
                caller.send(request("POST", "/", Body::full("not to be sent twice"))).await.unwrap();
            assert_eq!(response.status(), StatusCode::OK);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn statuses_are_retried_only_where_the_route_says_so() {
    local(async {
        let mesh = Mesh::new(&routed(retrying(&[503])), &[endpoint(2, v1::Hop::Weft)]);
        mesh.sidecar(2, &v1::Inbound::default());
        let calls = Rc::new(Cell::new(0));
        let counter = Rc::clone(&calls);
        application(2, move |request| {
            counter.set(counter.get() + 1);
            let fails = counter.get() == 1;
            async move {
                let status = match request.uri().path() {
                    "/500" => 500,
                    _ if fails => 503,
                    _ => 200,
                };
                Response::builder().status(status).body(Body::Empty).unwrap()
            }
        });
        let response = Caller::new().get("/").await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["x-weft-attempts"], "2");
        assert_eq!(calls.get(), 2);
        assert_eq!(Caller::new().get("/500").await.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert_eq!(calls.get(), 3);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_retried_request_has_its_whole_body_again() {
    local(async {
        let mesh =
            Mesh::new(&routed(retrying(&[503])), &[endpoint(2, v1::Hop::Weft), endpoint(3, v1::Hop::Weft)]);
        for host in [2, 3] {
            mesh.sidecar(host, &v1::Inbound::default());
        }
        let bodies = Rc::new(RefCell::new(Vec::new()));
        for host in [2, 3] {
            let bodies = Rc::clone(&bodies);
            application(host, move |request| {
                let bodies = Rc::clone(&bodies);
                async move {
                    use http_body_util::BodyExt;
                    let body = request.into_body().collect().await.unwrap().to_bytes();
                    let mut bodies = bodies.borrow_mut();
                    bodies.push((host, body));
                    let status = if bodies.len() == 1 { 503 } else { 200 };
                    Response::builder().status(status).body(Body::Empty).unwrap()
                }
            });
        }
        let body = vec![9; 50_000];
        let response = Caller::new().send(request("POST", "/", Body::full(body.clone()))).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let bodies = bodies.borrow();
        assert!(bodies.iter().all(|(_, sent)| *sent == body));
        assert_ne!(bodies[0].0, bodies[1].0, "a retry goes elsewhere");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_split_sends_each_backend_its_share() {
    local(async {
        let rule = v1::HttpRule {
            backends: vec![weighted("reviews-v1", 3), weighted("reviews-v2", 1)],
            ..v1::HttpRule::default()
        };
        let endpoints =
            [endpoint_of("reviews-v1", 2, v1::Hop::Weft), endpoint_of("reviews-v2", 3, v1::Hop::Weft)];
        let mesh = Mesh::new(&routed(rule), &endpoints);
        for host in [2, 3] {
            mesh.sidecar(host, &v1::Inbound::default());
            echo(host);
        }
        let caller = Caller::new();
        let mut seen: BTreeMap<String, u32> = BTreeMap::new();
        for _ in 0..400 {
            let response = caller.get("/").await;
            *seen.entry(response.headers()["x-host"].to_str().unwrap().to_owned()).or_default() += 1;
        }
        // 300 expected, standard deviation 8.7.
        assert!((250..350).contains(&seen["2"]), "{seen:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn requests_beyond_those_that_may_be_in_flight_find_the_breaker_open() {
    local(async {
        let policy = v1::BackendPolicy { max_requests: 2, ..v1::BackendPolicy::default() };
        let mesh = Mesh::new(&protected(policy), &[endpoint(2, v1::Hop::Plain)]);
        application(2, |_| async {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            Response::new(Body::Empty)
        });
        let caller = Caller::new();
        let answers = futures_util::future::join_all((0..5).map(|_| caller.get("/"))).await;
        let errors: Vec<_> = answers.iter().filter_map(|it| it.headers().get("x-weft-error")).collect();
        assert_eq!(errors, ["breaker_open"; 3]);
        assert_eq!(succeeded(&mesh), 2);
        assert_eq!(caller.get("/").await.status(), StatusCode::OK);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn requests_wait_for_a_connection_up_to_the_limit_and_no_longer_than_one_is_busy() {
    local(async {
        let policy =
            v1::BackendPolicy { max_connections: 2, max_pending_requests: 3, ..v1::BackendPolicy::default() };
        let mesh = Mesh::new(&protected(policy), &[endpoint(2, v1::Hop::Plain)]);
        application(2, |_| async {
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            Response::new(Body::Empty)
        });
        let caller = Caller::new();
        let answers = futures_util::future::join_all((0..6).map(|_| caller.get("/"))).await;
        let mut errors = answers.iter().filter_map(|answer| answer.headers().get("x-weft-error"));
        assert_eq!(errors.next().unwrap(), "overloaded");
        assert!(errors.next().is_none());
        assert_eq!(succeeded(&mesh), 5);
        assert_eq!(caller.get("/").await.status(), StatusCode::OK);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_session_stays_with_its_endpoint_as_long_as_that_lives() {
    local(async {
        let session = v1::SessionPersistence { name: "sid".into(), ..v1::SessionPersistence::default() };
        let rule = v1::HttpRule { session_persistence: Some(session), ..v1::HttpRule::default() };
        let endpoints: Vec<_> = [2, 3, 4].map(|host| endpoint(host, v1::Hop::Weft)).into();
        let mesh = Mesh::new(&routed(rule.clone()), &endpoints);
        for host in [2, 3, 4] {
            mesh.sidecar(host, &v1::Inbound::default());
            echo(host);
        }
        let caller = Caller::new();
        let first = caller.get("/").await;
        let cookie = first.headers()["set-cookie"].to_str().unwrap().split(';').next().unwrap().to_owned();
        let with_cookie = || {
            let mut request = request("GET", "/", Body::Empty);
            request.headers_mut().insert("cookie", cookie.parse().unwrap());
            request
        };
        for _ in 0..20 {
            let response = whole(caller.send(with_cookie()).await.unwrap()).await;
            assert_eq!(response.headers()["x-host"], first.headers()["x-host"]);
            assert!(!response.headers().contains_key("set-cookie"));
        }
        let gone = format!("reviews-{}", first.headers()["x-host"].to_str().unwrap());
        let left: Vec<_> = endpoints.into_iter().filter(|endpoint| endpoint.workload != gone).collect();
        mesh.configure(&routed(rule), &left);
        let response = whole(caller.send(with_cookie()).await.unwrap()).await;
        assert_eq!(response.status(), StatusCode::OK);
        assert!(response.headers().contains_key("set-cookie"), "the session is with another one now");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_mirror_gets_copies_and_its_failures_reach_nobody() {
    local(async {
        let mirror = v1::Mirror { backend: Some(backend("shadow")), ..v1::Mirror::default() };
        let filter = v1::HttpFilter { filter: Some(v1::http_filter::Filter::Mirror(mirror)) };
        let rule = v1::HttpRule { filters: vec![filter], ..v1::HttpRule::default() };
        let endpoints = [endpoint(2, v1::Hop::Weft), endpoint_of("shadow", 3, v1::Hop::Weft)];
        let mesh = Mesh::new(&routed(rule), &endpoints);
        for host in [2, 3] {
            mesh.sidecar(host, &v1::Inbound::default());
        }
        echo(2);
        let seen = Rc::new(RefCell::new(Vec::new()));
        let kept = Rc::clone(&seen);
        application(3, move |request| {
            let kept = Rc::clone(&kept);
            async move {
                use http_body_util::BodyExt;
                let path = request.uri().path().to_owned();
                let length = request.into_body().collect().await.unwrap().to_bytes().len();
                kept.borrow_mut().push((path, length));
                Response::builder().status(500).body(Body::Empty).unwrap()
            }
        });
        let caller = Caller::new();
        let body = vec![1; 100_000];
        let response =
            whole(caller.send(request("POST", "/a", Body::full(body.clone()))).await.unwrap()).await;
        assert_eq!((response.status(), response.body().len()), (StatusCode::OK, body.len()));
        let response = caller.get("/b").await;
        assert_eq!(
            (response.status(), &response.headers()["x-host"]),
            (StatusCode::OK, &"2".parse().unwrap())
        );
        // Time moves only when nothing is left to do.
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        assert_eq!(*seen.borrow(), [("/a".to_owned(), 100_000), ("/b".to_owned(), 0)]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn answers_that_break_off_eject_their_endpoint() {
    local(async {
        let mesh = Mesh::with_sidecars(&[2, 3]);
        echo(3);
        network::listen(application_at(2), |mut stream| async move {
            use tokio::io::{AsyncReadExt, AsyncWriteExt};
            let mut head = [0; 16];
            stream.read_exact(&mut head).await.unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf of").await.unwrap();
        });
        let caller = Caller::new();
        let is_whole = || async {
            use http_body_util::BodyExt;
            let response = caller.send(request("GET", "/", Body::Empty)).await.unwrap();
            response.into_body().collect().await.is_ok()
        };
        let mut broken = 0;
        while broken < 5 {
            // An endpoint that has failed is preferred less until that is some time ago.
            tokio::time::advance(std::time::Duration::from_secs(10)).await;
            broken += u32::from(!is_whole().await);
        }
        for _ in 0..20 {
            assert!(is_whole().await);
        }
        let shared = &mesh.worker.shared;
        let service = "shop/reviews:9080".parse().unwrap();
        let snapshot = shared.snapshot.load();
        let set = snapshot.endpoints.get(&service).unwrap();
        let ejected = set.endpoints().iter().filter(|it| shared.ejected.by(&service, &it.id) > 0);
        assert_eq!(ejected.map(|it| it.workload.to_string()).collect::<Vec<_>>(), ["reviews-2"]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_rotated_certificate_replaces_connections_and_costs_no_request() {
    local(async {
        let mesh = Mesh::with_sidecars(&[2]);
        application(2, |request| async move {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            Response::new(Body::from(request.into_body()))
        });
        let caller = Caller::new();
        let requests = (0..30).map(|i| {
            let (caller, mesh) = (&caller, &mesh);
            async move {
                tokio::time::sleep(std::time::Duration::from_millis(3 * i)).await;
                if i % 10 == 5 {
                    mesh.rotate();
                }
                caller.send(request("POST", "/", Body::full("x"))).await.unwrap().status()
            }
        });
        let statuses = futures_util::future::join_all(requests).await;
        assert!(statuses.iter().all(|status| *status == StatusCode::OK), "{statuses:?}");
    })
    .await;
}

/// An application that answers one request on each connection, leaves that open, and closes it at the next.
fn forgetful(host: u8) {
    network::listen(application_at(host), |mut stream| async move {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(stream.read_u8().await.unwrap());
        }
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.unwrap();
        let _ = stream.read_u8().await;
    });
}

#[tokio::test(start_paused = true)]
async fn a_kept_connection_that_closes_under_a_request_costs_only_what_must_not_be_repeated() {
    for hop in [v1::Hop::Weft, v1::Hop::Plain] {
        for (method, expected) in
            [("GET", StatusCode::OK), ("DELETE", StatusCode::OK), ("POST", StatusCode::BAD_GATEWAY)]
        {
            local(async {
                let mesh = Mesh::new(&destination(), &[endpoint(2, hop)]);
                if hop == v1::Hop::Weft {
                    mesh.sidecar(2, &v1::Inbound::default());
                }
                forgetful(2);
                let caller = Caller::new();
                assert_eq!(caller.get("/").await.status(), StatusCode::OK);
                let answer = caller.send(request(method, "/", Body::Empty)).await.unwrap();
                assert_eq!(answer.status(), expected, "{method} by {hop:?}");
            })
            .await;
        }
    }
}
