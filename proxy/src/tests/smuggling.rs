//! Peers with a valid certificate that say one thing of a message and send another: an application sees the requests that
//! were decided on, and no others.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use http::Request;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use weft_hop::{Config, RequestHead, RequestMetadata};
use weft_identity::ExpectedIdentities;
use weft_identity::tls::ALPN_WEFT;
use weft_mesh::http_validation::{End, Requests};
use weft_mesh::violation::Violation;
use weft_proto::v1;
use weft_testkit::mutation;

use super::network;
use super::side::recorder;
use super::world::*;
use crate::observe::stats::Direction;
use crate::runtime::worker::Worker;
use crate::transport::within::Within;

const HEAD: u8 = 1;
const DATA: u8 = 3;
const TRAILERS: u8 = 4;
const END: u8 = 1;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = u16::try_from(payload.len()).unwrap().to_be_bytes().to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A frame with a head as a peer would write it that has no regard for anything.
fn head(stream: u32, flags: u8, method: &str, target: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = Request::builder().method(method).uri(target).header("host", "reviews:9080");
    for (name, value) in fields {
        builder = builder.header(*name, *value);
    }
    let parts = builder.body(()).unwrap().into_parts().0;
    let mut block = BytesMut::new();
    let head = RequestHead { parts, metadata: RequestMetadata::default() };
    head.encode(&mut block, &Config::default()).unwrap();
    frame(HEAD, flags, stream, &block)
}

/// A sidecar in front of an application of HTTP/1.
fn sidecar(mesh: &Mesh) -> Rc<Worker> {
    let port = v1::InboundPort { protocol: v1::Protocol::Http1.into(), ..v1::InboundPort::default() };
    mesh.sidecar(2, &v1::Inbound { default_port: Some(port), ..v1::Inbound::default() })
}

/// A connection of a workload of the mesh to the sidecar, with nothing said on it but SETTINGS.
async fn peer(mesh: &Mesh) -> TlsStream<Within> {
    let tls = mesh.authority.tls(9, "evil");
    let expected = ExpectedIdentities::one(identity("reviews").parse().unwrap());
    let stream = network::connect(inbound(2)).unwrap().await.unwrap();
    let name = rustls::pki_types::ServerName::from(inbound(2).ip());
    let mut stream =
        TlsConnector::from(tls.client(expected, &[ALPN_WEFT])).connect(name, stream).await.unwrap();
    stream.write_all(&frame(0, 0, 0, &[])).await.unwrap();
    stream
}

/// Sends octets, then lets the sidecar do with them what it will.
async fn say(stream: &mut TlsStream<Within>, octets: &[u8]) {
    let _gone = stream.write_all(octets).await;
    let _gone = stream.flush().await;
    let mut answer = vec![0; 4096];
    while let Ok(Ok(1..)) = tokio::time::timeout(Duration::from_secs(1), stream.read(&mut answer)).await {}
}

#[tokio::test(start_paused = true)]
async fn a_head_that_announces_more_than_it_sends_does_not_swallow_the_next_request() {
    let hidden =
        "GET /admin/keys HTTP/1.1\r\nhost: x\r\nx-forwarded-client-cert: URI=spiffe://forged\r\n\r\n";
    let length = (hidden.len() + 40).to_string();
    for first in [
        // The application would take the head of the next request, and more, for what is missing here.
        vec![head(1, END, "POST", "/public", &[("content-length", &length)])],
        vec![head(1, 0, "POST", "/public", &[("content-length", "77")]), frame(DATA, END, 1, b"less")],
        vec![
            head(1, 0, "POST", "/public", &[("content-length", "4")]),
            frame(DATA, END, 1, hidden.as_bytes()),
        ],
        vec![
            head(1, 0, "POST", "/public", &[("content-length", "4"), ("content-length", "900")]),
            frame(DATA, END, 1, b"four"),
        ],
        vec![
            head(1, 0, "POST", "/public", &[("transfer-encoding", "chunked"), ("content-length", "4")]),
            frame(DATA, END, 1, b"0\r\n\r\n"),
        ],
        vec![
            head(
                1,
                0,
                "GET",
                "/public",
                &[("connection", "upgrade"), ("upgrade", "websocket"), ("content-length", "77")],
            ),
            frame(DATA, 0, 1, hidden.as_bytes()),
        ],
        vec![
            head(
                1,
                0,
                "POST",
                "/public",
                &[("connection", "upgrade"), ("upgrade", "tcp"), ("content-length", "4")],
            ),
            frame(DATA, 0, 1, format!("four{hidden}").as_bytes()),
        ],
        vec![
            head(
                1,
                0,
                "POST",
                "/public",
                &[("connection", "upgrade"), ("upgrade", "h2c"), ("content-length", "4")],
            ),
            frame(DATA, END, 1, format!("four{hidden}").as_bytes()),
        ],
        vec![
            head(1, 0, "GET", "/public", &[("connection", "upgrade"), ("upgrade", "websocket, h2c")]),
            frame(DATA, 0, 1, hidden.as_bytes()),
        ],
        vec![
            head(1, 0, "POST", "/public", &[("trailer", "x-forwarded-client-cert")]),
            frame(DATA, 0, 1, b"four"),
            frame(TRAILERS, 0, 1, b"\x00\x01\x00\x17x-forwarded-client-cert\x01x"),
        ],
    ] {
        local(async {
            let mesh = Mesh::with_sidecars(&[]);
            let _sidecar = sidecar(&mesh);
            let seen = recorder();
            let mut stream = peer(&mesh).await;
            // A connection to the application is kept, for what comes next to go on it.
            say(&mut stream, &head(1, END, "GET", "/warm", &[])).await;
            let shifted: Vec<u8> = first.iter().flat_map(|frame| renumbered(frame, 2)).collect();
            say(&mut stream, &shifted).await;
            say(&mut stream, &head(3, END, "GET", "/last", &[])).await;
            let requests: Vec<_> =
                seen.borrow().iter().map(|octets| String::from_utf8_lossy(octets).into_owned()).collect();
            let lines: Vec<_> = requests.iter().map(|request| request.lines().next().unwrap()).collect();
            assert!(lines.len() <= 3, "{lines:?}");
            assert!(lines.first().is_some_and(|line| line.starts_with("GET /warm ")), "{lines:?}");
            assert!(lines.last().is_some_and(|line| line.starts_with("GET /last ")), "{lines:?}");
            for request in &requests {
                let head = request.split("\r\n\r\n").next().unwrap();
                assert_eq!(head.matches("x-forwarded-client-cert: ").count(), 1, "{request}");
                assert!(head.contains(&format!("URI={}", identity("evil"))), "{request}");
                assert!(!request.starts_with("GET /admin"), "{request}");
            }
        })
        .await;
    }
}

/// The same frame on another stream.
fn renumbered(frame: &[u8], stream: u32) -> Vec<u8> {
    [&frame[..4], &stream.to_be_bytes(), &frame[8..]].concat()
}

#[tokio::test(start_paused = true)]
async fn what_a_peer_says_in_two_ways_is_counted() {
    local(async {
        let mesh = Mesh::with_sidecars(&[]);
        let sidecar = sidecar(&mesh);
        let _seen = recorder();
        let mut stream = peer(&mesh).await;
        say(&mut stream, &head(1, END, "POST", "/", &[("content-length", "77")])).await;
        assert_eq!(sidecar.shared.stats.violations(Direction::Inbound, Violation::Framing), 1);
        say(&mut stream, &head(2, 0, "POST", "/", &[("content-length", "77")])).await;
        say(&mut stream, &frame(DATA, END, 2, b"less")).await;
        assert_eq!(sidecar.shared.stats.violations(Direction::Inbound, Violation::Framing), 2);
    })
    .await;
}

/// What an application has read that is as strict as can be.
#[derive(Debug, Default)]
struct Read {
    heads: usize,
    wrong: Vec<String>,
}

fn strict_application() -> Rc<RefCell<Read>> {
    let read = Rc::<RefCell<Read>>::default();
    let told = Rc::clone(&read);
    network::listen(application_at(2), move |mut stream| {
        let told = Rc::clone(&told);
        async move {
            let (mut requests, mut held) = (Requests::default(), Vec::new());
            while let Ok(1..) = stream.read_buf(&mut held).await {
                loop {
                    let checked = requests.check(&held);
                    if let End::Violation(violation) = checked.end {
                        let rest = String::from_utf8_lossy(&held);
                        told.borrow_mut().wrong.push(format!("{violation}: {rest:?}"));
                        return;
                    }
                    // What it answers agrees to a tunnel, and to no upgrade.
                    let tunnel = held.starts_with(b"CONNECT ");
                    held.drain(..checked.good);
                    if checked.end == End::More {
                        break;
                    }
                    requests.decided(tunnel);
                }
                if !requests.is_in_body() && held.is_empty() {
                    told.borrow_mut().heads += 1;
                    let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
                    if stream.write_all(answer).await.is_err() {
                        return;
                    }
                }
            }
        }
    });
    read
}

#[tokio::test(start_paused = true)]
async fn whatever_frames_come_the_application_reads_well_formed_requests() {
    let long = "x".repeat(300);
    let seeds: Vec<Vec<u8>> = [
        vec![head(1, END, "GET", "/a?b=c", &[("x-one", "1")]), head(2, END, "HEAD", "/", &[])],
        vec![head(1, 0, "POST", "/", &[("content-length", "5")]), frame(DATA, END, 1, b"hello")],
        vec![
            head(1, 0, "POST", "/", &[("x-long", &long)]),
            frame(DATA, 0, 1, b"hello"),
            frame(DATA, END, 1, b""),
        ],
        vec![
            head(1, 0, "PUT", "/", &[("trailer", "x-sum"), ("te", "trailers")]),
            frame(DATA, 0, 1, b"hello"),
            frame(TRAILERS, 0, 1, b"\x00\x01\x00\x05x-sum\x011"),
            head(2, END, "OPTIONS", "*", &[]),
        ],
        vec![
            head(1, 0, "GET", "/", &[("connection", "upgrade"), ("upgrade", "websocket")]),
            frame(DATA, 0, 1, b"GET /tunnel HTTP/1.1\r\n\r\n"),
        ],
        vec![head(1, 0, "CONNECT", "shop:80", &[]), frame(DATA, END, 1, b"GET /tunnel HTTP/1.1\r\n\r\n")],
    ]
    .map(|frames| frames.concat())
    .to_vec();
    let mut inputs = Vec::new();
    mutation::inputs(&seeds, 300, |input| inputs.push(input.to_vec()));
    local(async {
        let mesh = Mesh::with_sidecars(&[]);
        let _sidecar = sidecar(&mesh);
        let read = strict_application();
        for input in inputs {
            let mut stream = peer(&mesh).await;
            say(&mut stream, &input).await;
            assert_eq!(read.borrow().wrong, [""; 0], "after {input:?}");
        }
        assert!(read.borrow().heads > seeds.len(), "{:?}", read.borrow());
    })
    .await;
}
