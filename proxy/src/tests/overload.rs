//! What is refused, and what is not, when there is too much of everything.

use std::cell::Cell;
use std::time::Duration;

use http::{Response, StatusCode};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use weft_mesh::shedding::ShedPolicy;
use weft_proto::v1;

use super::detection::dial;
use super::network;
use super::world::*;
use crate::http::body::Body;
use crate::observe::stats::ShedCause;
use crate::runtime::worker::Worker;
use crate::transport::within::Within;

thread_local! {
    static USED: Cell<u64> = const { Cell::new(0) };
}

/// Lets a sidecar shed from 90 % of its memory on, and everything from 98 %.
fn shed_by_memory(worker: &Worker) {
    let policy = ShedPolicy::new(0.9, 0.98).unwrap();
    worker.shared.overload.limit_memory(100, policy, || Some(USED.get()));
}

async fn use_memory(percent: u64) {
    USED.set(percent);
    tokio::time::sleep(Duration::from_secs(1)).await;
}

/// How many of a hundred requests are answered.
async fn answered(caller: &Caller) -> usize {
    let mut answered = 0;
    // The first one looks at the memory.
    caller.get("/").await;
    for _ in 0..100 {
        let answer = caller.get("/").await;
        if answer.status() == StatusCode::OK {
            answered += 1;
        } else {
            assert_eq!(answer.headers()["x-weft-error"], "overloaded");
        }
    }
    answered
}

#[tokio::test(start_paused = true)]
async fn a_proxy_whose_memory_is_used_up_refuses_a_growing_part_and_takes_all_when_it_is_not() {
    local(async {
        let mesh = Mesh::with_sidecars(&[2]);
        echo(2);
        shed_by_memory(&mesh.worker);
        let caller = Caller::new();
        for (percent, least, most) in
            [(89, 100, 100), (91, 50, 90), (97, 1, 35), (99, 0, 0), (91, 50, 90), (80, 100, 100)]
        {
            use_memory(percent).await;
            let answered = answered(&caller).await;
            assert!((least..=most).contains(&answered), "{percent} %: {answered}");
        }
        assert!(mesh.worker.shared.stats.sheds(ShedCause::Memory) > 100);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn what_one_sidecar_sheds_goes_to_another_and_costs_no_request() {
    local(async {
        let mesh = Mesh::with_sidecars(&[]);
        let random =
            v1::BackendPolicy { balancer: v1::Balancer::Random.into(), ..v1::BackendPolicy::default() };
        mesh.configure(&protected(random), &[endpoint(2, v1::Hop::Weft), endpoint(3, v1::Hop::Weft)]);
        let full = mesh.sidecar(2, &v1::Inbound::default());
        mesh.sidecar(3, &v1::Inbound::default());
        echo(2);
        echo(3);
        shed_by_memory(&full);
        USED.set(99);
        let caller = Caller::new();
        for _ in 0..50 {
            // As often as the budget has a retry for each.
            tokio::time::sleep(Duration::from_millis(400)).await;
            let request = request("POST", "/", Body::full("once"));
            let answer = caller.send(request).await.unwrap();
            assert_eq!(
                (answer.status(), &answer.headers()["x-host"]),
                (StatusCode::OK, &"3".parse().unwrap())
            );
        }
        assert!(full.shared.stats.sheds(ShedCause::Memory) > 0);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn health_checks_are_never_shed() {
    local(async {
        let mesh = Mesh::with_sidecars(&[]);
        mesh.configure(&destination(), &[endpoint(2, v1::Hop::Weft)]);
        let full = mesh.sidecar(2, &v1::Inbound::default());
        echo(2);
        shed_by_memory(&full);
        USED.set(99);
        let caller = Caller::new();
        assert_eq!(caller.get("/").await.status(), StatusCode::SERVICE_UNAVAILABLE);
        for _ in 0..20 {
            let answer = caller.get("/grpc.health.v1.Health/Check").await;
            assert_eq!(answer.status(), StatusCode::OK);
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn opaque_connections_are_shed_too_and_those_that_are_open_go_on() {
    local(async {
        let tcp = v1::Destination { protocol: v1::Protocol::Tcp.into(), ..destination() };
        let mesh = Mesh::new(&tcp, &[endpoint(2, v1::Hop::Plain)]);
        network::listen(application_at(2), |mut stream| async move {
            while let Ok(byte) = stream.read_u8().await {
                let _ = stream.write_u8(byte).await;
            }
        });
        shed_by_memory(&mesh.worker);
        let talk = async |stream: &mut Within| {
            let _ = stream.write_u8(7).await;
            stream.read_u8().await.ok()
        };
        let mut open = dial(&mesh);
        assert_eq!(talk(&mut open).await, Some(7));
        use_memory(99).await;
        let mut refused = dial(&mesh);
        assert_eq!(talk(&mut refused).await, None);
        assert_eq!(talk(&mut open).await, Some(7));
        assert!(mesh.worker.shared.overload.defers_connections());
        USED.set(50);
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(!mesh.worker.shared.overload.defers_connections());
        assert_eq!(talk(&mut dial(&mesh)).await, Some(7));
    })
    .await;
}

/// Lets the worker's thread do nothing else for so long, again and again.
async fn hold_up(times: u32, time: Duration) {
    for _ in 0..times {
        // The clock stands still otherwise: this is what time passing without the worker having its turn comes to.
        tokio::time::advance(time).await;
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_does_not_keep_up_refuses_a_part_until_it_does() {
    local(async {
        let mesh = Mesh::with_sidecars(&[2]);
        application(2, |_| async { Response::new(Body::Empty) });
        mesh.worker.shared.overload.limit_delay(ShedPolicy::new(0.25, 1.0).unwrap());
        let caller = Caller::new();
        assert_eq!(caller.get("/").await.status(), StatusCode::OK);
        hold_up(6, Duration::from_secs(2)).await;
        let late = mesh.worker.shared.overload.delay();
        assert!(late >= Duration::from_secs(1), "{late:?}");
        let refused = caller.get("/").await;
        assert_eq!(refused.headers()["x-weft-error"], "overloaded");
        assert!(mesh.worker.shared.stats.sheds(ShedCause::LoopDelay) > 0);
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert_eq!(caller.get("/").await.status(), StatusCode::OK);
        // One that is held up once has merely a hiccup.
        hold_up(1, Duration::from_secs(5)).await;
        assert_eq!(caller.get("/").await.status(), StatusCode::OK);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_worker_without_requests_measures_nothing() {
    local(async {
        let mesh = Mesh::with_sidecars(&[2]);
        echo(2);
        thread_local! {
            static LOOKS: Cell<u64> = const { Cell::new(0) };
        }
        let policy = ShedPolicy::new(0.9, 0.98).unwrap();
        mesh.worker.shared.overload.limit_memory(100, policy, || {
            LOOKS.set(LOOKS.get() + 1);
            Some(1)
        });
        Caller::new().get("/").await;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let looks = LOOKS.get();
        assert!(looks > 0);
        tokio::time::sleep(Duration::from_mins(1)).await;
        assert_eq!(LOOKS.get(), looks);
    })
    .await;
}
