use super::*;

/// A destination that leads to a service in the namespace `shop`, port 80.
fn leading_to(service: &str) -> v1::Destination {
    let service = Some(v1::ServicePort { namespace: "shop".into(), name: service.into(), port: 80 });
    let backend = Some(v1::Backend { service: service.clone(), ..v1::Backend::default() });
    v1::Destination { service, backend, ..v1::Destination::default() }
}

/// The service that a name leads to, as the snapshot in force says; `-` for a name that is not in the mesh.
fn leads_to(sidecar: &Sidecar, name: &str) -> Option<String> {
    let snapshot = sidecar.snapshot();
    let known = snapshot.destinations.get(name)?;
    Some(known.as_ref().map_or("-".to_owned(), |it| it.backend.service.to_string()))
}

fn endpoints(sidecar: &Sidecar, service: &str) -> Vec<String> {
    let snapshot = sidecar.snapshot();
    let set = &snapshot.endpoints[&service.parse().unwrap()];
    set.endpoints().iter().map(|endpoint| endpoint.id.to_string()).collect()
}

#[tokio::test(start_paused = true)]
async fn a_question_is_answered_once_all_endpoints_are_there() {
    let plane = Plane::start();
    plane.set("reviews:80", &leading_to("reviews"));
    let sidecar = Sidecar::start(&plane).await;
    let mut answer = sidecar.look_up("reviews:80");
    sleep(Duration::from_secs(1)).await;
    assert!(answer.try_recv().is_err(), "its endpoints are not known");
    assert_eq!(leads_to(&sidecar, "reviews:80"), None);
    plane.serve("shop/reviews:80", &["r1", "r2"]);
    answer.await.unwrap();
    assert_eq!(leads_to(&sidecar, "reviews:80").unwrap(), "shop/reviews:80");
    assert_eq!(endpoints(&sidecar, "shop/reviews:80"), ["r1", "r2"]);
    sidecar.look_up("reviews:80").await.unwrap();
    sidecar.look_up("nowhere:80").await.unwrap();
    assert_eq!(leads_to(&sidecar, "nowhere:80").unwrap(), "-");
}

#[tokio::test(start_paused = true)]
async fn a_question_before_the_first_certificate_is_answered_after_it() {
    let plane = Plane::start();
    plane.set("reviews:80", &leading_to("reviews"));
    plane.serve("shop/reviews:80", &[]);
    plane.down();
    let sidecar = Sidecar::start(&plane).await;
    let answer = sidecar.look_up("reviews:80");
    sleep(Duration::from_secs(5)).await;
    plane.up();
    answer.await.unwrap();
    assert_eq!(leads_to(&sidecar, "reviews:80").unwrap(), "shop/reviews:80");
}

#[tokio::test(start_paused = true)]
async fn upstreams_are_followed_from_the_start_and_waited_for() {
    let plane = Plane::start();
    plane.set("reviews:80", &leading_to("reviews"));
    let upstream = Upstream { destination: "reviews:80".into(), listen: "127.0.0.1:0".parse().unwrap() };
    let config = ProxyConfig { upstreams: vec![upstream], ..config(&plane) };
    let sidecar = Sidecar::start_with(&plane, config, Vec::new()).await;
    assert_eq!(sidecar.status.waiting_for(), ["the control plane has not told of the upstream reviews:80"]);
    plane.serve("shop/reviews:80", &[]);
    settle().await;
    assert!(sidecar.shared.is_ready());
    sleep(Duration::from_mins(20)).await;
    assert_eq!(leads_to(&sidecar, "reviews:80").unwrap(), "shop/reviews:80");
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_understood_is_refused_by_name_and_the_former_stays() {
    let plane = Plane::start();
    plane.set("reviews:80", &leading_to("reviews"));
    plane.serve("shop/reviews:80", &["r1", "r2"]);
    let sidecar = Sidecar::start(&plane).await;
    sidecar.look_up("reviews:80").await.unwrap();
    let number = sidecar.snapshot().number;
    plane.set("reviews:80", &v1::Destination::default());
    plane.set("shop/reviews:80/r2", &v1::Endpoint { address: "here".into(), ..v1::Endpoint::default() });
    plane.set(
        "shop/reviews:80/r3",
        &v1::Endpoint { address: "10.0.0.9".into(), port: 80, ..v1::Endpoint::default() },
    );
    settle().await;
    let mut nacks = plane.nacks();
    nacks.sort();
    assert_eq!(nacks.len(), 2, "{nacks:?}");
    assert!(nacks[0].starts_with("reviews:80: "), "{nacks:?}");
    assert!(nacks[1].starts_with("shop/reviews:80/r2: ") && nacks[1].contains("here"), "{nacks:?}");
    assert_eq!(leads_to(&sidecar, "reviews:80").unwrap(), "shop/reviews:80");
    assert_eq!(endpoints(&sidecar, "shop/reviews:80"), ["r1", "r2", "r3"], "the good ones came into force");
    assert!(sidecar.snapshot().number > number);
}

#[tokio::test(start_paused = true)]
async fn all_stays_in_force_while_the_control_plane_is_gone_and_changes_follow_when_it_is_back() {
    let plane = Plane::start();
    plane.set("reviews:80", &leading_to("reviews"));
    plane.serve("shop/reviews:80", &["r1"]);
    plane.serve("shop/other:80", &["o1"]);
    let sidecar = Sidecar::start(&plane).await;
    sidecar.look_up("reviews:80").await.unwrap();
    plane.down();
    sleep(Duration::from_mins(5)).await;
    assert!(sidecar.shared.is_ready());
    assert_eq!(endpoints(&sidecar, "shop/reviews:80"), ["r1"]);
    plane.set("reviews:80", &leading_to("other"));
    plane.up();
    sleep(Duration::from_mins(1)).await;
    assert_eq!(leads_to(&sidecar, "reviews:80").unwrap(), "shop/other:80");
    assert_eq!(endpoints(&sidecar, "shop/other:80"), ["o1"]);
    assert!(sidecar.status.troubles().is_empty(), "{:?}", sidecar.status.troubles());
}

#[tokio::test(start_paused = true)]
async fn what_nobody_uses_is_forgotten_and_found_again() {
    let plane = Plane::start();
    plane.set("reviews:80", &leading_to("reviews"));
    plane.serve("shop/reviews:80", &["r1"]);
    let sidecar = Sidecar::start(&plane).await;
    sidecar.look_up("reviews:80").await.unwrap();
    sleep(Duration::from_mins(9)).await;
    assert_eq!(leads_to(&sidecar, "reviews:80").unwrap(), "shop/reviews:80");
    sleep(Duration::from_mins(5)).await;
    assert_eq!(leads_to(&sidecar, "reviews:80"), None);
    assert!(sidecar.snapshot().endpoints.is_empty());
    sidecar.look_up("reviews:80").await.unwrap();
    assert_eq!(leads_to(&sidecar, "reviews:80").unwrap(), "shop/reviews:80");
    assert_eq!(endpoints(&sidecar, "shop/reviews:80"), ["r1"]);
}

#[tokio::test(start_paused = true)]
async fn a_service_that_does_not_exist_has_no_endpoints() {
    let plane = Plane::start();
    plane.set("reviews:80", &leading_to("reviews"));
    plane.end_service("shop/reviews:80");
    let sidecar = Sidecar::start(&plane).await;
    sidecar.look_up("reviews:80").await.unwrap();
    assert_eq!(endpoints(&sidecar, "shop/reviews:80"), [""; 0]);
    plane.serve("shop/reviews:80", &["r1"]);
    settle().await;
    assert_eq!(endpoints(&sidecar, "shop/reviews:80"), ["r1"]);
    plane.end_service("shop/reviews:80");
    settle().await;
    assert_eq!(endpoints(&sidecar, "shop/reviews:80"), [""; 0]);
}

#[tokio::test(start_paused = true)]
async fn the_own_endpoint_is_known_as_such_where_connections_are_redirected() {
    for redirected in [true, false] {
        let plane = Plane::start();
        plane.set("web:80", &leading_to("web"));
        plane.serve("shop/web:80", &[]);
        let endpoint = v1::Endpoint {
            address: "10.0.0.1".into(),
            port: 8080,
            identities: vec!["spiffe://mesh.example/ns/shop/sa/web".into()],
            hop: v1::Hop::Weft.into(),
            weight: 1,
            workload: WORKLOAD.into(),
            ..v1::Endpoint::default()
        };
        plane.set("shop/web:80/own", &endpoint);
        let transparent_inbound = redirected.then(|| "127.0.0.1:0".parse().unwrap());
        let config = ProxyConfig { transparent_inbound, ..config(&plane) };
        let sidecar = Sidecar::start_with(&plane, config, Vec::new()).await;
        sidecar.look_up("web:80").await.unwrap();
        settle().await;
        let snapshot = sidecar.snapshot();
        let set = &snapshot.endpoints[&"shop/web:80".parse().unwrap()];
        assert_eq!(set.endpoints().iter().map(|it| it.own).collect::<Vec<_>>(), [redirected]);
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_that_reached_its_age_goes_on_over_another_connection() {
    let plane = Plane::start();
    let sidecar = Sidecar::start(&plane).await;
    settle().await;
    let (before, issued) = (plane.connected(), plane.issued().len());
    sleep(Duration::from_mins(5)).await;
    assert_eq!(plane.connected(), before, "it stays where it is");
    sleep(Duration::from_mins(10)).await;
    assert_eq!(plane.issued().len(), issued, "the certificate is still the same");
    assert_eq!(plane.connected(), before + 1);
    assert!(sidecar.status.is_connected());
}
