use super::*;

/// An application that takes connections.
fn application() -> (std::net::TcpListener, SocketAddr) {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

#[tokio::test(start_paused = true)]
async fn a_workload_registers_with_what_it_offers_and_is_ready_when_its_application_is() {
    let plane = Plane::start();
    let (listener, address) = application();
    drop(listener);
    let sidecar = Sidecar::start_with(&plane, config(&plane), vec![offer(address)]).await;
    assert!(sidecar.shared.is_ready());
    let register = "register web-1 {\"app\": \"web\"} [\"web:80 10.0.0.1:15006\"] HEALTH_NOT_READY";
    assert_eq!(plane.registration(), [register]);
    let _listener = std::net::TcpListener::bind(address).unwrap();
    sleep(Duration::from_secs(1)).await;
    assert_eq!(plane.registration(), ["HEALTH_READY"]);
}

#[tokio::test(start_paused = true)]
async fn a_workload_is_not_ready_before_its_proxy_lets_requests_in() {
    let plane = Plane::start();
    let (_listener, address) = application();
    let broken = v1::Inbound {
        ports: vec![v1::InboundPort { port: 70_000, ..v1::InboundPort::default() }],
        ..v1::Inbound::default()
    };
    plane.set(WORKLOAD, &broken);
    let sidecar = Sidecar::start_with(&plane, config(&plane), vec![offer(address)]).await;
    sleep(Duration::from_secs(5)).await;
    assert_eq!(plane.registration().len(), 1);
    assert_eq!(sidecar.status.waiting_for(), ["the control plane has not said what workload web-1 lets in"]);
    plane.set(WORKLOAD, &v1::Inbound::default());
    sleep(Duration::from_secs(1)).await;
    assert_eq!(plane.registration(), ["HEALTH_READY"]);
}

#[tokio::test(start_paused = true)]
async fn a_broken_registration_comes_back_as_it_was_before_its_grace_ends() {
    let plane = Plane::start();
    let sidecar = Sidecar::start(&plane).await;
    let first = plane.registration();
    assert_eq!(first.last().unwrap(), "HEALTH_READY");
    plane.cut();
    sleep(Duration::from_secs(5)).await;
    assert_eq!(plane.registration(), ["end", "register web-1 {\"app\": \"web\"} [] HEALTH_READY"]);
    assert!(sidecar.status.troubles().is_empty(), "{:?}", sidecar.status.troubles());
}

#[tokio::test(start_paused = true)]
async fn a_drain_is_told_at_once_and_the_end_withdraws() {
    let plane = Plane::start();
    let sidecar = Sidecar::start(&plane).await;
    plane.registration();
    let (status, _) = sidecar.ask(Method::POST, "/drain").await;
    assert_eq!(status, StatusCode::ACCEPTED);
    settle().await;
    assert_eq!(plane.registration(), ["HEALTH_DRAINING"]);
    assert!(sidecar.status.waiting_for()[0].contains("about to end"));
    sidecar.end().await;
    assert_eq!(plane.registration(), ["withdraw", "end"]);
}

#[tokio::test(start_paused = true)]
async fn a_drain_while_the_control_plane_is_gone_is_told_when_it_is_back() {
    let plane = Plane::start();
    let sidecar = Sidecar::start(&plane).await;
    plane.down();
    sidecar.shared.drain.cancel();
    sleep(Duration::from_secs(5)).await;
    plane.registration();
    plane.up();
    sleep(Duration::from_secs(5)).await;
    let told = plane.registration();
    assert!(told.last().unwrap().ends_with("HEALTH_DRAINING"), "{told:?}");
}

#[tokio::test(start_paused = true)]
async fn the_end_waits_for_nobody_who_is_gone() {
    let plane = Plane::start();
    let sidecar = Sidecar::start(&plane).await;
    plane.down();
    let began = tokio::time::Instant::now();
    sidecar.end().await;
    assert!(began.elapsed() < Duration::from_secs(3), "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_name_that_another_has_is_a_failure() {
    let plane = Plane::start();
    plane.refuse_registration(tonic::Status::already_exists("web-1 belongs to another"));
    let sidecar = Sidecar::start(&plane).await;
    let failure = sidecar.status.failure().unwrap();
    assert!(failure.contains("refused the registration: web-1 belongs to another"), "{failure}");
    sidecar.ask(Method::POST, "/rotate").await;
    assert!(sidecar.status.failure().is_some(), "a new certificate changes nothing about it");
}

#[tokio::test(start_paused = true)]
async fn a_registration_that_fails_for_now_is_a_trouble_and_no_failure() {
    let plane = Plane::start();
    plane.refuse_registration(tonic::Status::unavailable("starting"));
    let sidecar = Sidecar::start(&plane).await;
    assert_eq!(sidecar.status.failure(), None);
    let troubles = sidecar.status.troubles().join("\n");
    assert!(
        troubles.contains("workload web-1 is not registered") && troubles.contains("starting"),
        "{troubles}"
    );
}
