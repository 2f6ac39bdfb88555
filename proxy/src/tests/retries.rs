//! What is tried again or goes elsewhere, and what does not.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use http::{Response, StatusCode};
use http_body_util::BodyExt;
use tokio::time::Instant;
use weft_proto::v1;

use super::world::*;
use crate::http::body::Body;

fn twice(rule: v1::HttpRule) -> v1::Destination {
    let retry = v1::Retry { attempts: 1, codes: vec![503], ..v1::Retry::default() };
    routed(v1::HttpRule { retry: Some(retry), ..rule })
}

#[tokio::test(start_paused = true)]
async fn a_body_longer_than_what_is_kept_arrives_whole_and_is_merely_not_sent_again() {
    local(async {
        let mesh = Mesh::new(&twice(v1::HttpRule::default()), &[endpoint(2, v1::Hop::Weft)]);
        mesh.sidecar(2, &v1::Inbound::default());
        let received = Rc::new(RefCell::new(Vec::new()));
        let kept = Rc::clone(&received);
        application(2, move |request| {
            let kept = Rc::clone(&kept);
            async move {
                let body = request.into_body().collect().await.unwrap().to_bytes();
                kept.borrow_mut().push(body.len());
                let status = if kept.borrow().len() == 1 { 503 } else { 200 };
                Response::builder().status(status).body(Body::Empty).unwrap()
            }
        });
        let caller = Caller::new();
        let long = request("POST", "/", Body::full(vec![1; 200_000]));
        assert_eq!(caller.send(long).await.unwrap().status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(*received.borrow(), [200_000]);
        received.borrow_mut().clear();
        let short = request("POST", "/", Body::full(vec![1; 20_000]));
        assert_eq!(caller.send(short).await.unwrap().status(), StatusCode::OK);
        assert_eq!(*received.borrow(), [20_000; 2]);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_attempt_that_takes_too_long_is_made_again_elsewhere() {
    local(async {
        let second = Some(prost_types::Duration { seconds: 1, nanos: 0 });
        let rule = v1::HttpRule { backend_request_timeout: second, ..v1::HttpRule::default() };
        let mesh = Mesh::new(&twice(rule), &[endpoint(2, v1::Hop::Weft), endpoint(3, v1::Hop::Weft)]);
        for host in [2, 3] {
            mesh.sidecar(host, &v1::Inbound::default());
        }
        application(2, |_| std::future::pending());
        echo(3);
        let (caller, began) = (Caller::new(), Instant::now());
        for _ in 0..10 {
            assert_eq!(caller.get("/").await.status(), StatusCode::OK);
        }
        assert!(began.elapsed() >= Duration::from_secs(1), "the other one was never tried");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_draining_endpoint_finishes_what_it_has_and_gets_nothing_new() {
    local(async {
        let mesh = Mesh::with_sidecars(&[2]);
        mesh.sidecar(3, &v1::Inbound::default());
        application(2, |_| async {
            tokio::time::sleep(Duration::from_secs(10)).await;
            Response::builder().header("x-host", "2").body(Body::Empty).unwrap()
        });
        echo(3);
        let under_way = tokio::task::spawn_local(async { Caller::new().get("/").await });
        tokio::time::sleep(Duration::from_secs(1)).await;
        let draining = v1::Endpoint { health: v1::Health::Draining.into(), ..endpoint(2, v1::Hop::Weft) };
        mesh.configure(&destination(), &[draining, endpoint(3, v1::Hop::Weft)]);
        let caller = Caller::new();
        for _ in 0..10 {
            assert_eq!(caller.get("/").await.headers()["x-host"], "3");
        }
        let finished = under_way.await.unwrap();
        assert_eq!(
            (finished.status(), &finished.headers()["x-host"]),
            (StatusCode::OK, &"2".parse().unwrap())
        );
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn many_large_bodies_at_once_stay_under_the_cap_and_arrive_whole() {
    local(async {
        let mesh = Mesh::new(&twice(v1::HttpRule::default()), &[endpoint(2, v1::Hop::Weft)]);
        mesh.sidecar(2, &v1::Inbound::default());
        let (cap, length) = (200_000, 60_000);
        mesh.worker.shared.replays.set_limit(cap);
        let worker = Rc::clone(&mesh.worker);
        let most = Rc::new(Cell::new(0));
        let seen = Rc::clone(&most);
        application(2, move |request| {
            let (worker, seen) = (Rc::clone(&worker), Rc::clone(&seen));
            async move {
                let body = request.into_body().collect().await.unwrap().to_bytes();
                seen.set(worker.shared.replays.taken().max(seen.get()));
                tokio::time::sleep(Duration::from_millis(100)).await;
                Response::new(Body::full(body))
            }
        });
        let caller = Caller::new();
        let requests = (0..30).map(|_| caller.send(request("POST", "/", Body::full(vec![1; length]))));
        for answer in futures_util::future::join_all(requests).await {
            assert_eq!(whole(answer.unwrap()).await.body().len(), length);
        }
        let most = most.get();
        assert!(most <= cap && most >= cap / 2, "{most}");
        assert!(mesh.worker.shared.stats.unkept_bodies() >= 30 - (cap / length) as u64);
        drop(caller);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert_eq!(mesh.worker.shared.replays.taken(), 0);
    })
    .await;
}
