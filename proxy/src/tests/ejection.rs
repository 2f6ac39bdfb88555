//! Endpoints that fail are left out, some of them, for a time.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use futures_util::future::join_all;
use http::{Response, StatusCode};
use weft_proto::v1;

use super::network;
use super::world::*;
use crate::http::body::Body;

fn detecting(detection: v1::OutlierDetection) -> v1::BackendPolicy {
    v1::BackendPolicy {
        outlier_detection: Some(detection),
        balancer: v1::Balancer::Random.into(),
        ..v1::BackendPolicy::default()
    }
}

fn meshed(policy: v1::BackendPolicy, hosts: &[u8]) -> Mesh {
    let endpoints: Vec<_> = hosts.iter().map(|host| endpoint(*host, v1::Hop::Weft)).collect();
    let mesh = Mesh::new(&protected(policy), &endpoints);
    for host in hosts {
        mesh.sidecar(*host, &v1::Inbound::default());
    }
    mesh
}

/// An application that counts its requests and answers what `status` makes of the number of each.
fn answering(host: u8, status: impl Fn(u32) -> u16 + Clone + 'static) -> Rc<Cell<u32>> {
    let calls = Rc::new(Cell::new(0));
    let counter = Rc::clone(&calls);
    application(host, move |_| {
        counter.set(counter.get() + 1);
        let status = status(counter.get());
        async move {
            Response::builder().status(status).header("x-host", u32::from(host)).body(Body::Empty).unwrap()
        }
    });
    calls
}

async fn send(times: usize) {
    let caller = Caller::new();
    for _ in 0..times {
        caller.get("/").await;
    }
}

#[tokio::test(start_paused = true)]
async fn five_failures_in_a_row_eject_an_endpoint_for_a_second() {
    local(async {
        let mesh = meshed(detecting(v1::OutlierDetection::default()), &[2, 3]);
        let (broken, _well) = (answering(2, |_| 503), answering(3, |_| 200));
        send(100).await;
        assert_eq!((broken.get(), mesh.worker.shared.stats.ejections()), (5, 1));
        let ejected_by = |id: &str| mesh.worker.shared.ejected.by(&"shop/reviews:9080".parse().unwrap(), id);
        assert_eq!((ejected_by("reviews-2"), ejected_by("reviews-3")), (1, 0), "and it is told");
        tokio::time::sleep(Duration::from_millis(1300)).await;
        send(100).await;
        assert_eq!(broken.get(), 6, "one probe");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn without_outlier_detection_nothing_is_ejected() {
    local(async {
        let off = v1::OutlierDetection { disabled: true, ..v1::OutlierDetection::default() };
        let mesh = meshed(detecting(off), &[2, 3]);
        let (broken, _well) = (answering(2, |_| 503), answering(3, |_| 200));
        send(100).await;
        assert!(broken.get() > 20, "{}", broken.get());
        assert_eq!(mesh.worker.shared.stats.ejections(), 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_low_success_rate_ejects_without_failures_in_a_row() {
    for (percent, ejections) in [(80, 1), (50, 0)] {
        local(async {
            let detection = v1::OutlierDetection {
                success_rate_percent: percent,
                consecutive_failures: 1000,
                ..v1::OutlierDetection::default()
            };
            let mesh = meshed(detecting(detection), &[2, 3]);
            let (flawed, _well) =
                (answering(2, |call| if call % 3 == 0 { 503 } else { 200 }), answering(3, |_| 200));
            send(200).await;
            assert_eq!(mesh.worker.shared.stats.ejections(), ejections, "{percent}");
            let seen = flawed.get();
            assert!(if ejections == 1 { (20..30).contains(&seen) } else { seen > 60 }, "{percent}: {seen}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn at_most_half_of_the_endpoints_are_ejected_and_of_two_one() {
    for (hosts, broken, ejected) in [(&[2, 3, 4, 5][..], 3, 2), (&[2, 3], 2, 1), (&[2], 1, 0)] {
        local(async {
            let mesh = meshed(detecting(v1::OutlierDetection::default()), hosts);
            let calls: Vec<_> = hosts
                .iter()
                .enumerate()
                .map(|(index, host)| answering(*host, move |_| if index < broken { 503 } else { 200 }))
                .collect();
            send(400).await;
            assert_eq!(mesh.worker.shared.stats.ejections(), ejected, "{hosts:?}");
            let left_out = calls.iter().filter(|calls| calls.get() == 5).count();
            assert_eq!(left_out as u64, ejected, "{calls:?}");
            assert!(calls.iter().all(|calls| calls.get() >= 5), "{calls:?}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_share_that_may_be_ejected_can_be_set() {
    local(async {
        let all = v1::OutlierDetection { max_ejected_percent: 100, ..v1::OutlierDetection::default() };
        let mesh = meshed(detecting(all), &[2, 3, 4]);
        for host in [2, 3, 4] {
            answering(host, |_| 503);
        }
        send(200).await;
        assert_eq!(mesh.worker.shared.stats.ejections(), 3);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn when_all_are_ejected_all_are_used() {
    local(async {
        let all = v1::OutlierDetection { max_ejected_percent: 100, ..v1::OutlierDetection::default() };
        let mesh = meshed(detecting(all), &[2, 3]);
        for host in [2, 3] {
            answering(host, |call| if call <= 5 { 503 } else { 200 });
        }
        send(20).await;
        assert_eq!(mesh.worker.shared.stats.ejections(), 2);
        let caller = Caller::new();
        let mut hosts = Vec::new();
        for _ in 0..40 {
            let answer = caller.get("/").await;
            assert_eq!(answer.status(), StatusCode::OK);
            hosts.push(answer.headers()["x-host"].clone());
        }
        assert!(["2", "3"].iter().all(|host| hosts.iter().any(|answered| answered == host)), "{hosts:?}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn exactly_one_request_probes_and_makes_room_for_another_when_its_caller_goes_away() {
    local(async {
        let mesh = meshed(detecting(v1::OutlierDetection::default()), &[2, 3]);
        echo(3);
        network::refuse(inbound(2));
        send(20).await;
        assert_eq!(mesh.worker.shared.stats.ejections(), 1);
        mesh.sidecar(2, &v1::Inbound::default());
        let (probes, is_well) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(false)));
        let (counter, answers) = (Rc::clone(&probes), Rc::clone(&is_well));
        application(2, move |_| {
            counter.set(counter.get() + 1);
            let answers = answers.get();
            async move {
                if !answers {
                    std::future::pending::<()>().await;
                }
                // Long enough for all others to have been sent.
                tokio::time::sleep(Duration::from_millis(10)).await;
                Response::builder().header("x-host", "2").body(Body::Empty).unwrap()
            }
        });
        tokio::time::sleep(Duration::from_millis(1300)).await;
        let get =
            || async { Caller::new().send_http2(request("GET", "http://reviews:9080/", Body::Empty)).await };
        for round in 1..=3 {
            let requests: Vec<_> = (0..20).map(|_| tokio::task::spawn_local(get())).collect();
            tokio::time::sleep(Duration::from_millis(100)).await;
            assert_eq!(probes.get(), round, "one probe each round, and no more");
            assert_eq!(requests.iter().filter(|request| !request.is_finished()).count(), 1);
            for request in requests {
                // Who still waits goes away.
                request.abort();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        is_well.set(true);
        let answers = join_all((0..40).map(|_| get())).await;
        let by_probed = answers.iter().filter(|answer| answer.as_ref().unwrap().headers()["x-host"] == "2");
        assert_eq!(by_probed.count(), 1, "nobody else goes there before the probe is answered");
        let mut answered = 0;
        for _ in 0..40 {
            answered += u32::from(get().await.unwrap().headers()["x-host"] == "2");
        }
        assert!(answered > 5, "an endpoint that answers its probe is used again: {answered}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn retries_stay_within_the_budget_while_everything_fails() {
    // Twenty per cent of what was asked lately, or the floor.
    for (requests, percent, floor, most) in [(200, 20, 1, 40), (10, 20, 5, 5), (100, 1, 1, 1)] {
        local(async {
            let budget =
                v1::RetryBudget { percent, min_retries_per_second: floor, ..v1::RetryBudget::default() };
            let off = v1::OutlierDetection { disabled: true, ..v1::OutlierDetection::default() };
            let retry =
                v1::Retry { attempts: 5, codes: vec![503], backoff: Some(millis(1)), ..v1::Retry::default() };
            let policy =
                v1::BackendPolicy { retry_budget: Some(budget), retry: Some(retry), ..detecting(off) };
            let _mesh = meshed(policy, &[2, 3]);
            let calls = [answering(2, |_| 503), answering(3, |_| 503)];
            let caller = Caller::new();
            let answers = join_all((0..requests).map(|_| caller.get("/"))).await;
            assert!(answers.iter().all(|answer| answer.status() == StatusCode::SERVICE_UNAVAILABLE));
            let retries = calls.iter().map(|calls| calls.get()).sum::<u32>() - requests;
            assert_eq!(retries, most, "of {requests} requests");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn retries_come_after_a_backoff_that_doubles_and_is_not_the_same_for_all() {
    local(async {
        let retry =
            v1::Retry { attempts: 3, codes: vec![503], backoff: Some(millis(100)), ..v1::Retry::default() };
        let budget = v1::RetryBudget { min_retries_per_second: 1000, ..v1::RetryBudget::default() };
        let policy = v1::BackendPolicy {
            retry: Some(retry),
            retry_budget: Some(budget),
            ..detecting(v1::OutlierDetection::default())
        };
        let _mesh = meshed(policy, &[2]);
        let times = Rc::new(RefCell::new(Vec::new()));
        let kept = Rc::clone(&times);
        application(2, move |_| {
            kept.borrow_mut().push(tokio::time::Instant::now());
            async { Response::builder().status(503).body(Body::Empty).unwrap() }
        });
        let mut firsts = Vec::new();
        for _ in 0..8 {
            times.borrow_mut().clear();
            send(1).await;
            let times = times.borrow();
            let gaps: Vec<Duration> = times.windows(2).map(|pair| pair[1] - pair[0]).collect();
            for (gap, least) in gaps.iter().zip([100, 200, 400]) {
                let (least, slack) = (Duration::from_millis(least), Duration::from_millis(5));
                assert!(*gap >= least && *gap <= least * 2 + slack, "{gaps:?}");
            }
            assert_eq!(gaps.len(), 3);
            firsts.push(gaps[0].as_millis());
        }
        firsts.sort_unstable();
        firsts.dedup();
        assert!(firsts.len() > 1, "{firsts:?}");
    })
    .await;
}
