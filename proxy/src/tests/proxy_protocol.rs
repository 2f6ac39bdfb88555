//! The PROXY protocol, before the sidecar and behind it.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::{Response, StatusCode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;
use weft_mesh::proxy_protocol::{Addresses, Parsed, Senders, Version, encode, parse};
use weft_proto::v1;

use super::network;
use super::world::*;
use crate::http::body::Body;
use crate::outbound::{self, Downstream, Target};
use crate::transport::listener::Bound;
use crate::transport::within::within;

const CLIENT: &str = "198.51.100.7:4711";

/// A port behind load balancers at these addresses, that lets in one client.
fn behind(balancers: &str) -> v1::Inbound {
    let rule =
        v1::AuthorizationRule { ip_blocks: vec!["198.51.100.7".into()], ..v1::AuthorizationRule::default() };
    let policy = v1::AuthorizationPolicy {
        resource: Some(v1::ResourceRef { kind: "AuthorizationPolicy".into(), ..v1::ResourceRef::default() }),
        action: v1::AuthorizationAction::Allow.into(),
        rules: vec![rule],
        ..v1::AuthorizationPolicy::default()
    };
    let port = v1::InboundPort {
        proxy_protocol_from: vec![balancers.into()],
        authorization: vec![policy],
        ..v1::InboundPort::default()
    };
    v1::Inbound { default_port: Some(port), ..v1::Inbound::default() }
}

fn header(version: Version, source: &str) -> Vec<u8> {
    let mut header = Vec::new();
    let addresses =
        Addresses { source: source.parse().unwrap(), destination: "192.0.2.1:80".parse().unwrap() };
    encode(version, addresses, &mut header);
    header
}

/// What comes back for these bytes, which arrive in two pieces.
async fn answer_to(bytes: &[u8]) -> String {
    let mut stream = network::connect(inbound(2)).unwrap().await.unwrap();
    let (first, second) = bytes.split_at(bytes.len().min(9));
    stream.write_all(first).await.unwrap();
    tokio::task::yield_now().await;
    let _ = stream.write_all(second).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8(answer).unwrap()
}

const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\nx-forwarded-for: 203.0.113.5\r\nconnection: close\r\n\r\n";

fn tell_forwarded_for(host: u8) {
    application(host, |request| async move {
        let lines = request.headers().get_all("x-forwarded-for");
        let lines: Vec<_> = lines.iter().map(|line| line.to_str().unwrap()).collect();
        Response::builder().header("x-seen", lines.join(", ")).body(Body::Empty).unwrap()
    });
}

#[tokio::test(start_paused = true)]
async fn who_a_balancer_names_is_who_policies_and_applications_see() {
    local(async {
        let mesh = Mesh::with_sidecars(&[]);
        mesh.sidecar(2, &behind("10.0.0.1/32"));
        tell_forwarded_for(2);
        for version in [Version::V1, Version::V2] {
            let said = answer_to(&[&header(version, CLIENT), GET].concat()).await;
            assert!(said.starts_with("HTTP/1.1 200"), "{said}");
            assert!(said.contains("x-seen: 203.0.113.5, 198.51.100.7\r\n"), "{said}");
            let said = answer_to(&[&header(version, "198.51.100.8:1"), GET].concat()).await;
            assert!(said.starts_with("HTTP/1.1 403"), "{said}");
        }
        // What a balancer asks for itself is its own.
        let said = answer_to(&[b"PROXY UNKNOWN\r\n", GET].concat()).await;
        assert!(said.starts_with("HTTP/1.1 403"), "{said}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_balancers_connection_without_a_header_is_refused_and_others_cannot_name_anybody() {
    local(async {
        let mesh = Mesh::with_sidecars(&[]);
        mesh.sidecar(2, &behind("10.0.0.1/32"));
        tell_forwarded_for(2);
        assert_eq!(answer_to(GET).await, "");
        let mut silent = network::connect(inbound(2)).unwrap().await.unwrap();
        assert_eq!(silent.read(&mut [0]).await.unwrap(), 0, "a header may take as long as it likes");
        mesh.sidecar(2, &behind("10.0.0.99"));
        let said = answer_to(&[&header(Version::V1, CLIENT), GET].concat()).await;
        assert!(!said.contains("200"), "{said}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn tls_of_the_mesh_may_come_through_a_balancer() {
    local(async {
        let mesh = Mesh::new(&destination(), &[endpoint(2, v1::Hop::Weft)]);
        mesh.sidecar(2, &behind("10.0.0.0/8"));
        network::announce(inbound(2), header(Version::V2, CLIENT));
        tell_forwarded_for(2);
        let answer = Caller::new().get("/").await;
        assert_eq!(
            (answer.status(), &answer.headers()["x-seen"]),
            (StatusCode::OK, &"198.51.100.7".parse().unwrap())
        );
    })
    .await;
}

/// An application that takes the header of a connection, and answers whatever follows with the source that it names.
fn tell_source(host: u8) {
    network::listen(application_at(host), |mut stream| async move {
        let mut bytes = Vec::new();
        let source: SocketAddr = loop {
            bytes.push(stream.read_u8().await.unwrap());
            match parse(&bytes) {
                Parsed::NeedMore => {}
                Parsed::Header { addresses: Some(addresses), .. } => break addresses.source,
                other => panic!("{other:?}"),
            }
        };
        stream.read_u8().await.unwrap();
        let answer = format!(
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\nx-source: {source}\r\n\r\n"
        );
        stream.write_all(answer.as_bytes()).await.unwrap();
        let _ = tokio::io::copy(&mut stream, &mut tokio::io::sink()).await;
    });
}

#[tokio::test(start_paused = true)]
async fn an_application_that_asks_for_it_is_told_of_each_connection_whose_it_is() {
    for version in [v1::ProxyProtocol::V1, v1::ProxyProtocol::V2] {
        local(async {
            let mesh = Mesh::new(&destination(), &[endpoint(2, v1::Hop::Weft)]);
            let port = v1::InboundPort { proxy_protocol_to: version.into(), ..v1::InboundPort::default() };
            mesh.sidecar(2, &v1::Inbound { default_port: Some(port), ..v1::Inbound::default() });
            tell_source(2);
            let answer = Caller::new().get("/").await;
            // Where the test's network lets all connections to sidecars come from.
            assert_eq!(answer.headers()["x-source"], "10.0.0.1:41000");
            let (mut near, far) = within(16);
            let target = Target::Fixed("reviews:9080".into());
            let downstream = Rc::new(Downstream::new(target, at(1, 40_001)));
            tokio::task::spawn_local(outbound::dialled(Rc::clone(&mesh.worker), far, downstream));
            near.write_all(b"\x00 no HTTP").await.unwrap();
            near.shutdown().await.unwrap();
            let mut answer = String::new();
            near.read_to_string(&mut answer).await.unwrap();
            assert!(answer.contains("x-source: 10.0.0.1:41000\r\n"), "{answer}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_without_a_sidecar_that_asks_for_it_is_told_whose_a_connection_is() {
    for version in [v1::ProxyProtocol::V1, v1::ProxyProtocol::V2] {
        local(async {
            let policy = v1::BackendPolicy { proxy_protocol: version.into(), ..v1::BackendPolicy::default() };
            let backend = v1::Backend { policy: Some(policy), ..backend("reviews") };
            let destination = v1::Destination { backend: Some(backend), ..destination() };
            let mesh = Mesh::new(&destination, &[endpoint(2, v1::Hop::Plain)]);
            tell_source(2);
            let (mut near, far) = within(16);
            let target = Target::Fixed("reviews:9080".into());
            let downstream = Rc::new(Downstream::new(target, at(1, 40_001)));
            tokio::task::spawn_local(outbound::dialled(Rc::clone(&mesh.worker), far, downstream));
            near.write_all(b"\x00 no HTTP").await.unwrap();
            near.shutdown().await.unwrap();
            let mut answer = String::new();
            near.read_to_string(&mut answer).await.unwrap();
            assert!(answer.contains("x-source: 10.0.0.1:40001\r\n"), "{answer}");
        })
        .await;
    }
}

#[tokio::test]
async fn a_balancer_before_the_outbound_side_says_whose_a_connection_is() {
    local(async {
        let policy = v1::BackendPolicy {
            proxy_protocol: v1::ProxyProtocol::V2.into(),
            ..v1::BackendPolicy::default()
        };
        let backend = v1::Backend { policy: Some(policy), ..backend("reviews") };
        let destination = v1::Destination { backend: Some(backend), ..destination() };
        let mesh = Mesh::new(&destination, &[endpoint(2, v1::Hop::Plain)]);
        tell_source(2);
        let bound = Bound::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let senders = Arc::new(Senders::new(&["127.0.0.0/8".to_owned()]).unwrap());
        let listener = bound.listener().unwrap();
        outbound::listen_local(
            &mesh.worker,
            listener,
            "reviews:9080".into(),
            &senders,
            CancellationToken::new(),
        );
        let answer_to = async |said: Vec<u8>| {
            let mut stream = TcpStream::connect(bound.address()).await.unwrap();
            stream.write_all(&said).await.unwrap();
            stream.shutdown().await.unwrap();
            let mut answer = String::new();
            let _ = stream.read_to_string(&mut answer).await;
            answer
        };
        let answer = answer_to([&header(Version::V1, CLIENT), &b"\x00 no HTTP"[..]].concat()).await;
        assert!(answer.contains("x-source: 198.51.100.7:4711\r\n"), "{answer}");
        assert_eq!(answer_to(b"\x00 no HTTP".to_vec()).await, "");
    })
    .await;
}
