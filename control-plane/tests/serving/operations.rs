//! What operators see: refusals of files and settings, the admin interface, traffic.

use tokio::io::AsyncReadExt as _;
use tokio::net::TcpStream;
use tokio_stream::iter;
use tonic::{Code, Request};
use weft_control_plane::{Announcement, ControlPlaneConfig, start};
use weft_proto::v1;
use weft_proto::v1::telemetry_client::TelemetryClient;

use crate::fixture::{Folders, admin, any_port, config_is, refused, shares, soon, split};

const BROKEN: &str = "apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {name: cart, namespace: shop}
spec:
  parentRefs: [{group: '', kind: Service, name: cart, port: 80}]
  rules:
    - backendRefs:
        - name: cart-v1
          port: 80
          weight: heavy
";

fn is_refused(config: &serde_json::Value) -> bool {
    config["errors"].as_array().is_some_and(|errors| !errors.is_empty())
}

#[tokio::test]
async fn a_broken_file_is_told_of_and_what_it_said_last_stays_even_over_a_restart() {
    let folders = Folders::new();
    folders.write("shop.yaml", &split(90, 10));
    let running = folders.start().await;
    let cart = folders.join("cart").await;
    let _cart = cart.register("cart-1", "cart", "10.0.0.1:8080").await.unwrap();
    let mut client = cart.discover("cart-1");
    let before = client.destinations.get("cart:80").await;
    folders.write("shop.yaml", BROKEN);
    let config = config_is(&running, is_refused).await;
    let error = &config["errors"][0];
    assert_eq!((&error["file"], &error["line"]), (&"shop.yaml".into(), &10.into()), "{config}");
    assert!(error["field"].as_str().unwrap().ends_with("weight"), "{config}");
    assert!(error["reason"].as_str().unwrap().contains("heavy"), "{config}");
    assert_eq!(client.destinations.now().resources["cart:80"], before);
    running.stop().await;

    let running = folders.start().await;
    let config = config_is(&running, is_refused).await;
    assert_eq!(config["resources"].as_array().unwrap().len(), 3, "{config}");
    let mut client = folders.join("cart").await.discover("cart-1");
    assert_eq!(client.destinations.get("cart:80").await, before);
    folders.write("shop.yaml", &split(1, 2));
    client.destinations.until(|held| shares(&held.resources["cart:80"]) == [1, 2]).await;
    assert!(!is_refused(&config_is(&running, |_| true).await));
}

#[tokio::test]
async fn a_file_that_breaks_while_nobody_looks_is_taken_as_it_was_last_right() {
    let folders = Folders::new();
    folders.write("shop.yaml", &split(90, 10));
    folders.start().await.stop().await;
    folders.write("shop.yaml", &split(60, 40));
    folders.start().await.stop().await;
    folders.write("shop.yaml", BROKEN);
    let running = folders.start().await;
    let cart = folders.join("cart").await;
    let _cart = cart.register("cart-1", "cart", "10.0.0.1:8080").await.unwrap();
    assert!(is_refused(&config_is(&running, |_| true).await));
    assert_eq!(shares(&cart.discover("cart-1").destinations.get("cart:80").await), [60, 40]);
}

#[tokio::test]
async fn an_address_in_use_is_named_with_the_option_and_nobody_is_sent_there() {
    let folders = Folders::new();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let _taken = std::net::TcpListener::bind(taken).unwrap();
    let listen = ControlPlaneConfig { listen: taken, ..folders.settings() };
    let error = start(listen).await.unwrap_err().to_string();
    assert!(error.contains(&taken.to_string()) && error.contains("--listen"), "{error}");
    let admin = ControlPlaneConfig { admin: taken, ..folders.settings() };
    let error = start(admin).await.unwrap_err().to_string();
    assert!(error.contains(&taken.to_string()) && error.contains("--admin"), "{error}");
    assert_eq!(Announcement::read(&folders.state()).unwrap(), None);
}

#[tokio::test]
async fn a_state_folder_in_use_is_named_with_who_uses_it() {
    let folders = Folders::new();
    let running = folders.start().await;
    let error = start(folders.settings()).await.unwrap_err().to_string();
    assert!(error.contains(&running.address.to_string()) && error.contains("--state"), "{error}");
}

#[tokio::test]
async fn a_configuration_folder_that_is_missing_is_named() {
    let folders = Folders::new();
    let missing = folders.config().join("missing");
    let settings = ControlPlaneConfig { config_dir: Some(missing.clone()), ..folders.settings() };
    let error = start(settings).await.unwrap_err().to_string();
    assert!(error.contains(&missing.display().to_string()), "{error}");
}

#[tokio::test]
async fn the_admin_interface_shows_what_there_is() {
    let folders = Folders::new();
    folders.write("shop.yaml", &split(90, 10));
    let running = folders.start().await;
    let cart = folders.join("cart").await;
    let _cart = cart.register("cart-1", "cart", "10.0.0.1:8080").await.unwrap();
    let mut client = cart.discover("cart-1");
    client.destinations.get("cart:80").await;
    let at = running.admin;
    assert_eq!(admin(at, "/ready").await.0, 200);
    assert_eq!(admin(at, "/live").await.0, 200);
    let (status, metrics) = admin(at, "/metrics").await;
    assert_eq!(status, 200);
    assert!(metrics.contains("weft_control_plane_workloads 1"), "{metrics}");
    assert!(metrics.contains("weft_control_plane_certificates_issued_total 1"), "{metrics}");
    assert!(metrics.ends_with("# EOF\n"), "{metrics}");
    let (_, config) = admin(at, "/config").await;
    assert!(config.contains("HTTPRoute/shop/cart"), "{config}");
    let (_, clients) = admin(at, "/clients").await;
    let clients: serde_json::Value = serde_json::from_str(&clients).unwrap();
    assert_eq!(clients["workloads"][0]["id"], "cart-1");
    assert_eq!(clients["workloads"][0]["connected"], true);
    assert_eq!(clients["streams"][0]["identity"], cart.identity().as_str());
    let (status, body) = admin(at, "/nothing").await;
    assert_eq!(status, 404);
    assert!(body.contains("/metrics"), "{body}");
}

fn report(workload: &str, requests: u64) -> v1::TelemetryReport {
    let edge = v1::EdgeReport { requests, ..v1::EdgeReport::default() };
    v1::TelemetryReport {
        workload_id: workload.to_owned(),
        edges: vec![edge],
        ..v1::TelemetryReport::default()
    }
}

#[tokio::test]
async fn reports_are_summed_for_operators_and_nobody_reports_for_another() {
    let folders = Folders::new();
    let _running = folders.start().await;
    let cart = folders.join("cart").await;
    let _cart = cart.register("cart-1", "cart", "10.0.0.1:8080").await.unwrap();
    let mut client = TelemetryClient::new(cart.channel().await.unwrap());
    let reports = iter([report("cart-1", 2), report("cart-1", 3)]);
    soon(client.report(reports)).await.unwrap();
    refused(soon(client.report(iter([report("unknown", 1)]))).await, Code::FailedPrecondition);
    let mut web = TelemetryClient::new(folders.join("web").await.channel().await.unwrap());
    refused(soon(web.report(iter([report("cart-1", 1)]))).await, Code::FailedPrecondition);
    let mut operator = TelemetryClient::new(folders.operator().await.channel().await.unwrap());
    let request = Request::new(v1::WatchRequest { interval_ms: 100 });
    let mut summaries = soon(operator.watch(request)).await.unwrap().into_inner();
    let summary = soon(summaries.message()).await.unwrap().unwrap();
    assert_eq!(summary.edges.len(), 1);
    assert_eq!(summary.edges[0].traffic.as_ref().unwrap().requests, 5);
    assert_eq!(summary.workloads[0].workload_id, "cart-1");
    assert!(summary.workloads[0].connected);
}

#[tokio::test]
async fn the_monitor_shows_others_readiness_and_metrics_alone() {
    let folders = Folders::new();
    let settings = ControlPlaneConfig { monitor: Some(any_port()), ..folders.settings() };
    let running = start(settings).await.unwrap();
    let at = running.monitor.unwrap();
    for path in ["/ready", "/live", "/metrics"] {
        assert_eq!(admin(at, path).await.0, 200, "{path}");
    }
    for path in ["/config", "/clients"] {
        let (status, body) = admin(at, path).await;
        assert_eq!(status, 404, "{path}");
        assert!(!body.contains("GET /config") && !body.contains("GET /clients"), "{body}");
    }
    let (_, body) = admin(running.admin, "/").await;
    assert!(body.contains("GET /config"), "{body}");
}

#[tokio::test]
async fn the_admin_interface_is_on_loopback_alone() {
    let folders = Folders::new();
    for address in ["0.0.0.0:0", "[::]:0", "10.0.0.1:0"] {
        let settings = ControlPlaneConfig { admin: address.parse().unwrap(), ..folders.settings() };
        let error = start(settings).await.unwrap_err().to_string();
        assert!(error.contains("--admin") && error.contains("--monitor"), "{error}");
    }
}

#[tokio::test]
async fn an_identity_that_takes_all_that_it_can_leaves_others_their_places() {
    let folders = Folders::new();
    let settings = ControlPlaneConfig { max_connections: 8, ..folders.settings() };
    let running = start(settings).await.unwrap();
    let (greedy, other) = (folders.join("greedy").await, folders.join("cart").await);
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push(greedy.register(&format!("g-{}", held.len()), "greedy", "10.0.0.1:80").await.unwrap());
    }
    assert!(greedy.refused_a_place().await);
    let _cart = other.register("cart-1", "cart", "10.0.0.2:80").await.unwrap();
    let (_, metrics) = admin(running.admin, "/metrics").await;
    assert!(!metrics.contains("refused_total{reason=\"TooManyConnections\"} 0"), "{metrics}");
    drop(held);
}

#[tokio::test]
async fn a_connection_on_which_nothing_comes_is_closed() {
    let folders = Folders::new();
    let running = folders.start().await;
    let cart = folders.join("cart").await;
    // One that never begins its handshake, and one that says nothing after it.
    let mut silent = TcpStream::connect(running.address).await.unwrap();
    let mut idle = cart.stream().await;
    let mut byte = [0];
    assert!(!matches!(soon(silent.read(&mut byte)).await, Ok(1..)));
    soon(async { while matches!(idle.read(&mut byte).await, Ok(1..)) {} }).await;
}

#[tokio::test]
async fn what_an_instance_reports_replaces_what_it_reported_and_goes_on_after_its_withdrawal() {
    let folders = Folders::new();
    let running = folders.start().await;
    let cart = folders.join("cart").await;
    let registration = cart.register("cart-1", "cart", "10.0.0.1:8080").await.unwrap();
    let mut client = TelemetryClient::new(cart.channel().await.unwrap());
    let (reports, queue) = tokio::sync::mpsc::channel(1);
    let stream = tokio_stream::wrappers::ReceiverStream::new(queue);
    let told = tokio::spawn(async move { client.report(stream).await });
    let total = |requests| v1::TelemetryReport {
        instance: 7,
        totals: report("cart-1", requests).edges,
        edges: Vec::new(),
        ..report("cart-1", requests)
    };
    reports.send(total(2)).await.unwrap();
    reports.send(total(5)).await.unwrap();
    drop(registration);
    reports.send(total(6)).await.unwrap();
    drop(reports);
    soon(told).await.unwrap().unwrap();
    let (_, traffic) = admin(running.admin, "/traffic").await;
    let traffic: serde_json::Value = serde_json::from_str(&traffic).unwrap();
    assert_eq!(traffic["edges"].as_array().unwrap().len(), 1);
    assert_eq!(
        (&traffic["edges"][0]["requests"], &traffic["edges"][0]["from"]),
        (&6.into(), &"cart-1".into())
    );
}
