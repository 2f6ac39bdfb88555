use weft_mesh::name::ServicePort;

use super::*;
use crate::observe::stats::{Direction, EDGE_IDLE, EdgeKey, Outcome, Security};

fn key(direction: Direction) -> EdgeKey {
    let service: Option<ServicePort> = Some("shop/reviews:80".parse().unwrap());
    EdgeKey {
        destination: service.clone(),
        backend: service,
        route: "shop/split".into(),
        workload: "reviews-1".into(),
        version: "v1".into(),
        security: Security::Plain,
        ..EdgeKey::outside(direction)
    }
}

fn ended(failed: bool) -> Outcome {
    let elapsed = Duration::from_millis(3);
    Outcome { status: Some(StatusCode::OK), cause: None, failed, elapsed }
}

/// What a control plane knows of the sidecar's requests, by the reports that it got.
fn known(reports: &[v1::TelemetryReport]) -> u64 {
    let mut edges = std::collections::HashMap::new();
    for report in reports {
        if report.whole {
            edges.clear();
        }
        for edge in &report.totals {
            edges.insert((edge.upstream_workload.clone(), edge.tls), edge.requests);
        }
    }
    edges.values().sum()
}

#[tokio::test(start_paused = true)]
async fn traffic_is_told_once_a_second_as_all_that_there_was() {
    let plane = Plane::start();
    let sidecar = Sidecar::start(&plane).await;
    let reports = plane.reports();
    assert_eq!(reports.len(), 1, "the certificate is told even without traffic");
    assert_eq!(reports[0].certificate_serial, sidecar.serial());
    assert!(reports[0].whole && reports[0].instance > 0 && reports[0].totals.is_empty());
    let edge = sidecar.shared.stats.edge(key(Direction::Outbound));
    for failed in [false, false, true] {
        edge.request(&ended(failed));
    }
    sidecar.shared.stats.edge(key(Direction::Inbound)).request(&ended(true));
    sleep(Duration::from_secs(3)).await;
    let reports = plane.reports();
    assert_eq!(reports.len(), 1, "and then nothing is new: {reports:?}");
    assert_eq!(reports[0].totals.len(), 1, "each request is told by its client alone");
    let told = &reports[0].totals[0];
    assert_eq!((told.requests, told.failures, &*told.upstream_workload), (3, 1, "reviews-1"));
    assert_eq!(told.latency.as_ref().unwrap().counts, [3]);
    assert_eq!((&*told.route, &*told.upstream_version), ("shop/split", "v1"));
    assert!(reports[0].edges.is_empty(), "who adds up what is new would count it again and again");
    edge.request(&ended(false));
    sleep(Duration::from_secs(2)).await;
    assert_eq!(plane.reports()[0].totals[0].requests, 4);
}

#[tokio::test(start_paused = true)]
async fn traffic_while_the_control_plane_was_gone_is_told_later() {
    let plane = Plane::start();
    let sidecar = Sidecar::start(&plane).await;
    plane.down();
    sleep(Duration::from_secs(30)).await;
    let mut reports = plane.reports();
    let edge = sidecar.shared.stats.edge(key(Direction::Outbound));
    for _ in 0..5 {
        edge.request(&ended(false));
        sleep(Duration::from_secs(7)).await;
    }
    plane.up();
    sleep(Duration::from_secs(30)).await;
    let after = plane.reports();
    assert_eq!(known(&after), 5, "to one that has never heard of the sidecar");
    reports.extend(after);
    assert_eq!(known(&reports), 5);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_lost_with_an_edge_that_ended_while_the_control_plane_was_gone() {
    let plane = Plane::start();
    let sidecar = Sidecar::start(&plane).await;
    sidecar.shared.stats.edge(key(Direction::Outbound)).request(&ended(false));
    sleep(Duration::from_secs(3)).await;
    let told = plane.reports();
    assert_eq!(known(&told), 1);
    let start = std::time::Instant::now();
    for late in [EDGE_IDLE, EDGE_IDLE * 2] {
        sidecar.shared.stats.sweep(start + late);
    }
    assert!(sidecar.shared.stats.edges().is_empty());
    sleep(Duration::from_secs(3)).await;
    let moved = plane.reports();
    assert_eq!(known(&[told, moved].concat()), 1, "neither lost nor counted twice");
    plane.cut();
    sleep(Duration::from_secs(30)).await;
    assert_eq!(known(&plane.reports()), 1);
}

#[tokio::test(start_paused = true)]
async fn a_control_plane_that_refuses_reports_is_asked_ever_more_seldom() {
    let plane = Plane::start();
    plane.refuse_reports(true);
    let sidecar = Sidecar::start(&plane).await;
    sleep(Duration::from_mins(1)).await;
    plane.reports();
    sleep(Duration::from_mins(10)).await;
    let tries = plane.reports().len();
    // Every 5 s on average, whatever is queued before the refusal is heard.
    assert!((60..=240).contains(&tries), "{tries} tries in ten minutes");
    sidecar.shared.stats.edge(key(Direction::Outbound)).request(&ended(false));
    plane.refuse_reports(false);
    sleep(Duration::from_secs(30)).await;
    assert_eq!(known(&plane.reports()), 1);
}

#[tokio::test(start_paused = true)]
async fn the_last_traffic_is_told_before_the_end() {
    let plane = Plane::start();
    let sidecar = Sidecar::start(&plane).await;
    plane.reports();
    let edge = sidecar.shared.stats.edge(key(Direction::Outbound));
    edge.request(&ended(false));
    sidecar.end().await;
    let reports = plane.reports();
    assert_eq!(reports.len(), 1);
    assert_eq!(reports[0].totals[0].requests, 1);
}
