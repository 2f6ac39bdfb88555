//! TCPRoute and TLSRoute: where connections go whose requests, if there are any, are not seen.

use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use weft_identity::ExpectedIdentities;
use weft_mesh::proxy_protocol::Senders;
use weft_proto::v1;

use super::detection::dial;
use super::network;
use super::world::*;
use crate::outbound;

/// Applications at these hosts that read something and then say who they are.
fn named(hosts: &[u8]) {
    for host in hosts.iter().copied() {
        network::listen(application_at(host), move |mut stream| async move {
            let _ = stream.read(&mut [0; 2048]).await;
            let _ = stream.write_all(&[host]).await;
        });
    }
}

/// `reviews` at host 2 and `ratings` at host 3.
fn endpoints() -> [v1::Endpoint; 2] {
    [endpoint(2, v1::Hop::Weft), endpoint_of("ratings", 3, v1::Hop::Weft)]
}

fn route(name: &str, hostnames: &[&str], backends: Vec<v1::WeightedBackend>) -> v1::TlsRoute {
    let resource = v1::ResourceRef { kind: "TLSRoute".into(), namespace: "shop".into(), name: name.into() };
    let hostnames = hostnames.iter().map(ToString::to_string).collect();
    v1::TlsRoute { resource: Some(resource), hostnames, backends }
}

fn invalid(weight: u32) -> v1::WeightedBackend {
    let target = v1::weighted_backend::Target::Invalid("there is no Service shop/none".into());
    v1::WeightedBackend { weight, target: Some(target), filters: Vec::new() }
}

/// A mesh in front of both services.
fn mesh(destination: &v1::Destination) -> Mesh {
    let mesh = Mesh::new(destination, &endpoints());
    mesh.sidecar(2, &v1::Inbound::default());
    mesh.sidecar(3, &v1::Inbound::default());
    named(&[2, 3]);
    mesh
}

/// What a client of TLS says first that asks for this server.
fn hello(mesh: &Mesh, server_name: &str) -> Vec<u8> {
    let generation = mesh.authority.issue("web", Duration::from_hours(1), std::time::SystemTime::now());
    let expected = ExpectedIdentities::one(identity("reviews").parse().unwrap());
    let name = ServerName::try_from(server_name.to_owned()).unwrap();
    let mut hello = Vec::new();
    let config = generation.client(expected, &[]);
    rustls::ClientConnection::new(config, name).unwrap().write_tls(&mut hello).unwrap();
    hello
}

/// Which host answers to these bytes, said after a while; `None`: the connection is closed.
async fn reached(mesh: &Mesh, bytes: &[u8], after: Duration) -> Option<u8> {
    let (mut read, mut write) = tokio::io::split(dial(mesh));
    sleep(after).await;
    let mut answer = [0];
    let (_, read) = tokio::join!(write.write_all(bytes), read.read_exact(&mut answer));
    read.ok().map(|_| answer[0])
}

#[tokio::test(start_paused = true)]
async fn the_server_name_decides_where_tls_goes() {
    for protocol in [v1::Protocol::Detect, v1::Protocol::Tls] {
        local(async {
            let mesh = mesh(&v1::Destination {
                protocol: protocol.into(),
                tls_routes: vec![
                    route("all", &["*.test"], vec![weighted("reviews", 1)]),
                    route("one", &["ratings.test", "ratings.example"], vec![weighted("ratings", 1)]),
                    route("none", &["none.test"], vec![invalid(1)]),
                ],
                ..destination()
            });
            for after in [Duration::ZERO, Duration::from_secs(1)] {
                for (name, expected) in [
                    ("ratings.test", Some(3)),
                    ("ratings.example", Some(3)),
                    ("reviews.test", Some(2)),
                    ("none.test", None),
                    ("reviews.example", None),
                ] {
                    assert_eq!(reached(&mesh, &hello(&mesh, name), after).await, expected, "{name}");
                }
            }
            let other = reached(&mesh, b"\x00 no TLS and no HTTP", Duration::ZERO).await;
            assert_eq!(other, Some(2), "what is no TLS goes to the service");
            let edges = mesh.worker.shared.stats.edges();
            assert!(edges.iter().any(|(key, _)| &*key.route == "one"));
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn weights_divide_connections_and_an_invalid_backend_keeps_its_share() {
    const CONNECTIONS: u32 = 400;
    local(async {
        fastrand::seed(7);
        let tcp_backends = vec![weighted("reviews", 2), weighted("ratings", 1), invalid(1)];
        let protocol = v1::Protocol::Tcp.into();
        let mesh = mesh(&v1::Destination { protocol, tcp_backends, ..destination() });
        let mut counts = [0; 3];
        for _ in 0..CONNECTIONS {
            let host = reached(&mesh, b"hello", Duration::ZERO).await;
            counts[match host {
                Some(2) => 0,
                Some(3) => 1,
                _ => 2,
            }] += 1;
        }
        for (count, share) in counts.into_iter().zip([2, 1, 1]) {
            let expected = CONNECTIONS * share / 4;
            assert!(expected.abs_diff(count) < 30, "{counts:?}");
        }
    })
    .await;
}

#[tokio::test]
async fn a_connection_that_an_invalid_backend_gets_is_reset() {
    for (protocol, says) in
        [(v1::Protocol::Tcp, ""), (v1::Protocol::Detect, ""), (v1::Protocol::Detect, "\x00 no HTTP")]
    {
        local(async {
            let protocol = protocol.into();
            let mesh = mesh(&v1::Destination { protocol, tcp_backends: vec![invalid(1)], ..destination() });
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let nobody = Arc::new(Senders::new(&[]).unwrap());
            let stop = CancellationToken::new();
            outbound::listen_local(&mesh.worker, listener, "reviews:9080".into(), &nobody, stop);
            let mut stream = TcpStream::connect(address).await.unwrap();
            stream.write_all(says.as_bytes()).await.unwrap();
            let error = stream.read(&mut [0]).await.unwrap_err();
            assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
        })
        .await;
    }
}
