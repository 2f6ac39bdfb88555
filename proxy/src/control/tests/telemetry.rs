use weft_mesh::name::ServicePort;

use super::*;
use crate::stats::{Direction, EdgeKey};

fn key(direction: Direction) -> EdgeKey {
    let service: ServicePort = "shop/reviews:80".parse().unwrap();
    EdgeKey {
        direction,
        destination: service.clone(),
        backend: service,
        route: "shop/split".into(),
        workload: "reviews-1".into(),
        version: "v1".into(),
        peer: None,
    }
}

#[tokio::test(start_paused = true)]
async fn traffic_is_told_once_a_second_as_what_is_new() {
    let plane = Plane::start();
    let sidecar = Sidecar::start(&plane).await;
    let reports = plane.reports();
    assert_eq!(reports.len(), 1, "the certificate is told even without traffic");
    assert_eq!(reports[0].certificate_serial, sidecar.serial());
    let edge = sidecar.shared.stats.edge(key(Direction::Outbound));
    for failed in [false, false, true] {
        edge.request(Some(StatusCode::OK), failed, Duration::from_millis(3));
    }
    sidecar.shared.stats.edge(key(Direction::Inbound)).request(None, true, Duration::ZERO);
    sleep(Duration::from_secs(3)).await;
    let reports = plane.reports();
    assert_eq!(reports.len(), 1, "and then nothing is new: {reports:?}");
    assert_eq!(reports[0].edges.len(), 1, "each request is told by its client alone");
    let told = &reports[0].edges[0];
    assert_eq!((told.requests, told.failures, &*told.upstream_workload), (3, 1, "reviews-1"));
    assert_eq!(told.latency.as_ref().unwrap().counts, [3]);
    assert_eq!((&*told.route, &*told.upstream_version), ("shop/split", "v1"));
}

#[tokio::test(start_paused = true)]
async fn traffic_while_the_control_plane_was_gone_is_told_later() {
    let plane = Plane::start();
    let sidecar = Sidecar::start(&plane).await;
    plane.down();
    sleep(Duration::from_secs(30)).await;
    plane.reports();
    let edge = sidecar.shared.stats.edge(key(Direction::Outbound));
    for _ in 0..5 {
        edge.request(Some(StatusCode::OK), false, Duration::from_millis(3));
        sleep(Duration::from_secs(7)).await;
    }
    plane.up();
    sleep(Duration::from_secs(30)).await;
    let told: u64 = plane.reports().iter().flat_map(|report| &report.edges).map(|edge| edge.requests).sum();
    assert_eq!(told, 5);
}

#[tokio::test(start_paused = true)]
async fn the_last_traffic_is_told_before_the_end() {
    let plane = Plane::start();
    let sidecar = Sidecar::start(&plane).await;
    plane.reports();
    let edge = sidecar.shared.stats.edge(key(Direction::Outbound));
    edge.request(Some(StatusCode::OK), false, Duration::from_millis(3));
    sidecar.end().await;
    let reports = plane.reports();
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0].edges[0].requests, 1);
}
