use super::*;

fn wire() -> v1::Workload {
    v1::Workload {
        workload_id: "web-1".into(),
        services: vec![v1::ServiceOffer {
            service: "web".into(),
            port: 80,
            address: "0.0.0.0".into(),
            address_port: 1234,
            ..v1::ServiceOffer::default()
        }],
        ..v1::Workload::default()
    }
}

fn registrant(services: &[&str], addresses: &[&str]) -> Registrant {
    let services = services.iter().map(ToString::to_string).collect();
    let addresses = addresses.iter().map(|block| block.parse().unwrap()).collect();
    Registrant {
        identity: "spiffe://cluster.local/ns/shop/sa/web".parse().unwrap(),
        address: [10, 0, 0, 9].into(),
        grants: Grants::new(Some(services), addresses).unwrap(),
        token: Some("t".to_owned()),
    }
}

fn read(wire: v1::Workload) -> Result<Workload, String> {
    registrant(&["web"], &[]).workload(wire).map_err(|status| status.message().to_owned())
}

fn at(registrant: &Registrant, address: &str) -> Result<String, Code> {
    let mut wire = wire();
    wire.services[0].address = address.to_owned();
    registrant.workload(wire).map(|it| it.offers[0].address.ip().to_string()).map_err(|status| status.code())
}

#[test]
fn a_proxy_that_listens_everywhere_is_reached_where_it_came_from() {
    assert_eq!(read(wire()).unwrap().offers[0].address, "10.0.0.9:1234".parse().unwrap());
    assert_eq!(at(&registrant(&["web"], &[]), "::").unwrap(), "10.0.0.9");
}

#[test]
fn a_service_that_is_not_granted_is_refused_with_what_is() {
    let status = registrant(&["cart", "pay"], &[]).workload(wire()).unwrap_err();
    assert_eq!(status.code(), Code::PermissionDenied);
    let said = status.message();
    assert!(
        said.starts_with("services[0].service: \"web\"") && said.contains("may offer cart, pay"),
        "{said}"
    );
}

#[test]
fn clients_are_sent_nowhere_but_to_the_workload_itself_or_where_it_was_granted() {
    let plain = registrant(&["web"], &[]);
    assert_eq!(at(&plain, "10.0.0.9").unwrap(), "10.0.0.9");
    assert_eq!(at(&plain, "::ffff:10.0.0.9").unwrap(), "10.0.0.9");
    for other in ["10.0.0.8", "127.0.0.1", "169.254.169.254", "fe80::1", "::1", "8.8.8.8", "224.0.0.1"] {
        assert_eq!(at(&plain, other), Err(Code::PermissionDenied), "{other}");
    }
    let granted = registrant(&["web"], &["10.0.0.0/8", "0.0.0.0/0", "::/0"]);
    assert_eq!(at(&granted, "10.0.0.8").unwrap(), "10.0.0.8");
    for special in ["127.0.0.1", "169.254.169.254", "fe80::1", "::1", "::ffff:127.0.0.1", "224.0.0.1"] {
        assert_eq!(at(&granted, special), Err(Code::PermissionDenied), "{special}");
    }
    let local = Registrant { address: [127, 0, 0, 1].into(), ..registrant(&["web"], &[]) };
    assert_eq!(at(&local, "127.0.0.2").unwrap(), "127.0.0.2");
}

#[test]
fn a_registration_is_bounded_as_a_whole() {
    let mut large = wire();
    large.labels = (0..200).map(|number| (number.to_string(), "x".repeat(200))).collect();
    assert!(read(large).unwrap_err().contains("at most 32768"));
}

#[test]
fn what_is_wrong_is_named_with_its_value() {
    let with = |change: fn(&mut v1::Workload)| {
        let mut wire = wire();
        change(&mut wire);
        read(wire).unwrap_err()
    };
    assert!(with(|it| it.workload_id = "Web 1".into()).starts_with("workload_id: \"Web 1\""));
    assert!(with(|it| it.services[0].port = 70_000).starts_with("services[0].port: \"70000\""));
    assert!(with(|it| it.services[0].address = "here".into()).starts_with("services[0].address: \"here\""));
    assert!(with(|it| it.services[0].service = "a b".into()).starts_with("services[0].service: \"a b\""));
}
