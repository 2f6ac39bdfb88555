//! Clients that come and go in every way.

use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::Done;
use weft_harness::load::{http1, http2};

/// Pause of each client between two rounds: many rounds in a second, and time for the sidecars on a small machine.
const PAUSE: Duration = Duration::from_millis(5);
/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Starts a client of each kind, which goes on until it is aborted.
pub(super) fn start(clients: &mut JoinSet<()>, address: SocketAddr, authority: &str, done: &Rc<Done>) {
    let authority: Rc<str> = authority.into();
    let again = |client: Rc<dyn Fn() -> Round>| async move {
        loop {
            let _too_slow = timeout(PATIENCE, client()).await;
            sleep(PAUSE).await;
        }
    };
    for kind in [Kind::KeepAlive, Kind::Streams, Kind::Malformed, Kind::Gone, Kind::Silent] {
        let (authority, done) = (Rc::clone(&authority), Rc::clone(done));
        clients.spawn_local(again(Rc::new(move || {
            Box::pin(round(kind, address, Rc::clone(&authority), Rc::clone(&done)))
        })));
    }
}

type Round = std::pin::Pin<Box<dyn Future<Output = ()>>>;

#[derive(Clone, Copy)]
enum Kind {
    /// A few requests of HTTP/1 on a connection.
    KeepAlive,
    /// Streams of HTTP/2, some of which are reset.
    Streams,
    /// A request that is none.
    Malformed,
    /// A request to endpoints that are not there.
    Gone,
    /// A connection on which nothing, or half a head, comes.
    Silent,
}

async fn round(kind: Kind, address: SocketAddr, authority: Rc<str>, done: Rc<Done>) {
    add(&done.connections);
    // What fails is meant to, or comes of a configuration that has just changed.
    let _may_fail = match kind {
        Kind::KeepAlive => keep_alive(address, &authority, &done).await,
        Kind::Streams => streams(address, &authority, &done).await,
        Kind::Malformed => {
            add(&done.malformed);
            send(
                address,
                b"POST /x HTTP/1.1\r\nhost: server\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\nx\r\n",
            )
            .await
        }
        Kind::Gone => {
            add(&done.failed_endpoints);
            send(address, b"GET /gone HTTP/1.1\r\nhost: server\r\nconnection: close\r\n\r\n").await
        }
        Kind::Silent => {
            add(&done.resets);
            silent(address).await
        }
    };
}

fn add(counter: &Cell<u64>) {
    counter.set(counter.get() + 1);
}

async fn keep_alive(address: SocketAddr, authority: &str, done: &Done) -> Option<()> {
    let mut connection = http1::Connection::open(address).await.ok()?;
    for _ in 0..fastrand::u32(1..6) {
        connection.exchange(&http1::request(authority)).await.ok()?;
        add(&done.requests);
    }
    Some(())
}

async fn streams(address: SocketAddr, authority: &str, done: &Done) -> Option<()> {
    let mut sender = http2::open(address).await?;
    for _ in 0..10 {
        sender = sender.ready().await.ok()?;
        let request = http2::request(authority)?;
        if fastrand::u8(..4) == 0 {
            let (answer, mut body) = sender.send_request(request, false).ok()?;
            body.send_data(Bytes::from_static(b"some"), false).ok()?;
            body.send_reset(h2::Reason::CANCEL);
            drop(answer);
            add(&done.resets);
        } else {
            http2::exchange(&mut sender, request).await.ok()?;
            add(&done.requests);
        }
    }
    Some(())
}

/// Sends octets and reads until the connection ends.
async fn send(address: SocketAddr, octets: &[u8]) -> Option<()> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    stream.write_all(octets).await.ok()?;
    let mut read = [0; 4096];
    while stream.read(&mut read).await.ok()? > 0 {}
    Some(())
}

async fn silent(address: SocketAddr) -> Option<()> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    if fastrand::bool() {
        stream.write_all(b"GET / HTTP/1.1\r\nhost: ser").await.ok()?;
    }
    sleep(Duration::from_millis(fastrand::u64(..20))).await;
    Some(())
}
