//! CONNECT: of a connection that is for one destination it is that destination's, be it a company's forward proxy; by the
//! explicit listener it opens a tunnel to what can be reached.

use std::rc::Rc;

use http::{Request, StatusCode};
use hyper::client::conn::http2::handshake;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use weft_proto::v1;

use super::network;
use super::world::*;
use crate::http::body::Body;
use crate::http::local::LocalExecutor;
use crate::outbound::{self, Downstream, Target};
use crate::transport::within::Within;

const CONNECT: &str = "CONNECT vault.example:9000 HTTP/1.1\r\nhost: vault.example:9000\r\nproxy-authorization: Basic eDp5\r\n\r\n";

/// A local listener of the client's sidecar that leads to `reviews:9080`.
fn upstream(mesh: &Mesh) -> std::net::SocketAddr {
    let (worker, address) = (Rc::clone(&mesh.worker), at(1, 19_080));
    network::listen(address, move |stream| {
        let target = Target::Fixed("reviews:9080".into());
        outbound::dialled(Rc::clone(&worker), stream, Rc::new(Downstream::new(target, at(1, 40_000))))
    });
    address
}

pub(super) async fn head(stream: &mut (impl AsyncRead + Unpin)) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    String::from_utf8(head).unwrap()
}

/// A forward proxy on host 2: it opens tunnels for whoever has credentials, and says at their other end what it is asked.
fn forward_proxy() {
    network::listen(application_at(2), |mut stream| async move {
        let asked = head(&mut stream).await;
        assert!(asked.starts_with("CONNECT vault.example:9000 HTTP/1.1\r\n"), "{asked}");
        let refusal = "HTTP/1.1 407 Proxy Authentication Required\r\nproxy-authenticate: Basic\r\ncontent-length: 0\r\n\r\n";
        if !asked.to_ascii_lowercase().contains("proxy-authorization: basic edp5\r\n") {
            return stream.write_all(refusal.as_bytes()).await.unwrap();
        }
        // The length means nothing.
        stream.write_all(b"HTTP/1.1 200 Connection established\r\ncontent-length: 3\r\n\r\n").await.unwrap();
        let mut bytes = [0; 5];
        stream.read_exact(&mut bytes).await.unwrap();
        bytes.reverse();
        stream.write_all(&bytes).await.unwrap();
    });
}

/// Runs a test with a forward proxy behind every kind of hop, and outside the mesh.
async fn with_forward_proxy<F: Future<Output = ()>>(test: impl Fn(std::net::SocketAddr) -> F) {
    for hop in [Some(v1::Hop::Weft), Some(v1::Hop::Standard), Some(v1::Hop::Plain), None] {
        local(async {
            let endpoints: Vec<_> = hop.into_iter().map(|hop| endpoint(2, hop)).collect();
            let mesh = Mesh::new(&destination(), &endpoints);
            mesh.sidecar(2, &v1::Inbound::default());
            if hop.is_none() {
                mesh.change(|snapshot| drop(snapshot.destinations.insert("reviews:9080".into(), None)));
                network::name("reviews:9080", &[application_at(2)]);
            }
            forward_proxy();
            test(upstream(&mesh)).await;
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn connect_on_a_port_for_one_destination_is_for_that_destination() {
    with_forward_proxy(async |upstream| {
        let mut stream = network::connect(upstream).unwrap().await.unwrap();
        stream.write_all(CONNECT.as_bytes()).await.unwrap();
        let answer = head(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 200 ") && !answer.contains("content-length"), "{answer}");
        stream.write_all(b"hello").await.unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "olleh");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn connect_that_the_destination_refuses_opens_nothing() {
    with_forward_proxy(async |upstream| {
        let mut stream = network::connect(upstream).unwrap().await.unwrap();
        let without = CONNECT.replace("proxy-authorization: Basic eDp5\r\n", "");
        stream.write_all(without.as_bytes()).await.unwrap();
        let answer = head(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 407 "), "{answer}");
        assert!(answer.contains("proxy-authenticate: Basic\r\n"), "{answer}");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn connect_over_http2_on_a_port_for_one_destination_is_for_that_destination() {
    local(async {
        let mesh = Mesh::with_sidecars(&[2]);
        forward_proxy();
        let stream = network::connect(upstream(&mesh)).unwrap().await.unwrap();
        let (mut sender, connection) = handshake(LocalExecutor, TokioIo::new(stream)).await.unwrap();
        tokio::task::spawn_local(connection);
        let request = Request::connect("vault.example:9000").header("proxy-authorization", "Basic eDp5");
        let mut response = sender.send_request(request.body(Body::Empty).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        let mut stream = TokioIo::new(hyper::upgrade::on(&mut response).await.unwrap());
        stream.write_all(b"hello").await.unwrap();
        let mut rest = String::new();
        stream.read_to_string(&mut rest).await.unwrap();
        assert_eq!(rest, "olleh");
    })
    .await;
}

/// Asks the explicit listener for a tunnel.
pub(super) async fn tunnel(target: &str) -> (String, Within) {
    let mut stream = network::connect(outbound()).unwrap().await.unwrap();
    stream
        .write_all(format!("CONNECT {target} HTTP/1.1\r\nhost: {target}\r\n\r\n").as_bytes())
        .await
        .unwrap();
    (head(&mut stream).await, stream)
}

#[tokio::test(start_paused = true)]
async fn connect_to_what_cannot_be_reached_is_answered_with_why() {
    local(async {
        let mesh = Mesh::new(&destination(), &[]);
        mesh.answer_lookups();
        network::name("gone.example:443", &[at(9, 443)]);
        network::name("self.example:443", &[outbound()]);
        for (target, status, reason) in [
            ("gone.example:443", 503, "connect_failed"),
            ("10.0.0.9:443", 503, "connect_failed"),
            ("reviews:9080", 503, "no_endpoints"),
            ("self.example:443", 508, "loop_detected"),
            ("10.0.0.1:15001", 508, "loop_detected"),
            ("reviews:65536", 400, "bad_request"),
            ("reviews:0", 400, "bad_request"),
        ] {
            let (answer, _) = tunnel(target).await;
            assert!(answer.starts_with(&format!("HTTP/1.1 {status} ")), "{target}: {answer}");
            assert!(answer.contains(&format!("x-weft-error: {reason}\r\n")), "{target}: {answer}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn connect_to_a_server_that_speaks_first_or_second_carries_what_it_says() {
    local(async {
        let mesh = Mesh::new(&destination(), &[]);
        mesh.answer_lookups();
        network::listen(at(9, 25), |mut stream| async move {
            stream.write_all(b"220 ready\r\n").await.unwrap();
        });
        network::listen(at(9, 443), |mut stream| async move {
            let mut bytes = [0; 5];
            stream.read_exact(&mut bytes).await.unwrap();
            stream.write_all(&bytes).await.unwrap();
        });
        let (answer, mut stream) = tunnel("10.0.0.9:25").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        let mut said = String::new();
        stream.read_to_string(&mut said).await.unwrap();
        assert_eq!(said, "220 ready\r\n");
        let (answer, mut stream) = tunnel("10.0.0.9:443").await;
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
        // The beginning of a handshake.
        stream.write_all(&[0x16, 3, 1, 0, 0]).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut said = Vec::new();
        stream.read_to_end(&mut said).await.unwrap();
        assert_eq!(said, [0x16, 3, 1, 0, 0]);
    })
    .await;
}
