//! Either side of a proxy, in front of an application that writes down what reaches it.

use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use weft_mesh::violation::Violation;
use weft_proto::v1;

use super::network;
use super::world::*;
use crate::observe::stats::Direction;
use crate::runtime::worker::Worker;
use crate::transport::within::Within;

/// The requests that the application has got, as they came.
pub(super) type Seen = Rc<RefCell<Vec<Vec<u8>>>>;

/// An application that writes down what comes, and answers each request with an empty response.
pub(super) fn recorder() -> Seen {
    let seen = Seen::default();
    let told = Rc::clone(&seen);
    network::listen(application_at(2), move |mut stream| {
        let told = Rc::clone(&told);
        async move {
            let mut bytes = Vec::new();
            while let Ok(1..) = stream.read_buf(&mut bytes).await {
                let Some(end) = end_of_request(&bytes) else { continue };
                told.borrow_mut().push(bytes.drain(..end).collect());
                let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await;
            }
        }
    });
    seen
}

fn end_of_request(bytes: &[u8]) -> Option<usize> {
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
    let text = String::from_utf8_lossy(&bytes[..head]).to_ascii_lowercase();
    if text.contains("\r\ntransfer-encoding: chunked\r\n") {
        let end = bytes[head - 2..].windows(5).position(|five| five == b"\r\n0\r\n")? + head + 3;
        return bytes[end - 2..].windows(4).position(|four| four == b"\r\n\r\n").map(|at| end + at + 2);
    }
    let length = text
        .split("\r\ncontent-length: ")
        .nth(1)
        .map_or(0, |rest| rest.split("\r\n").next().unwrap().parse().unwrap());
    (bytes.len() >= head + length).then_some(head + length)
}

/// One side of a proxy, in front of an application that writes down what it gets.
pub(super) struct Side {
    pub(super) direction: Direction,
    pub(super) worker: Rc<Worker>,
    pub(super) seen: Seen,
    _mesh: Mesh,
}

impl Side {
    pub(super) fn new(direction: Direction) -> Self {
        let backend = v1::Backend { protocol: v1::Protocol::Http1.into(), ..backend("reviews") };
        let destination = v1::Destination { backend: Some(backend), ..destination() };
        let mesh = Mesh::new(&destination, &[endpoint(2, v1::Hop::Plain)]);
        let port = v1::InboundPort { protocol: v1::Protocol::Http1.into(), ..v1::InboundPort::default() };
        let sidecar = mesh.sidecar(2, &v1::Inbound { default_port: Some(port), ..v1::Inbound::default() });
        let worker = if direction == Direction::Outbound { Rc::clone(&mesh.worker) } else { sidecar };
        Self { direction, worker, seen: recorder(), _mesh: mesh }
    }

    pub(super) async fn connect(&self) -> Within {
        let address = if self.direction == Direction::Outbound { outbound() } else { inbound(2) };
        network::connect(address).unwrap().await.unwrap()
    }

    /// What comes back for these octets until the proxy closes. The client keeps its own side open.
    pub(super) async fn answers(&self, bytes: &[u8]) -> String {
        let (mut read, mut write) = tokio::io::split(self.connect().await);
        let mut answers = Vec::new();
        let reading = async {
            let reading = read.read_to_end(&mut answers);
            tokio::time::timeout(Duration::from_secs(10), reading).await.is_ok()
        };
        let (closed, _) = tokio::join!(reading, write.write_all(bytes));
        assert!(closed, "the connection stays open after {:?}", String::from_utf8_lossy(bytes));
        String::from_utf8_lossy(&answers).into_owned()
    }

    pub(super) fn violations(&self, violation: Violation) -> u64 {
        self.worker.shared.stats.violations(self.direction, violation)
    }
}

/// Runs a test on both sides.
pub(super) async fn both<F: Future<Output = ()>>(test: impl Fn(Side) -> F) {
    for direction in [Direction::Outbound, Direction::Inbound] {
        local(async { test(Side::new(direction)).await }).await;
    }
}
