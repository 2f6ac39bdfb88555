//! Serving what the proxy answers itself: one small server for the admin's requests and for those of monitoring.

use std::collections::HashMap;
use std::convert::Infallible;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use http::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::AbortHandle;

use super::Answer;
use crate::transport::own_listeners;
use crate::transport::stream::Transport as _;

/// Time for a request's head to arrive, be it the first of a connection or a later one.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a connection could not be accepted.
const PAUSE: Duration = Duration::from_millis(50);
/// Connections that a server holds at once: far more than the kubelet and what scrapes metrics open.
const MOST_CONNECTIONS: usize = 128;

/// Whom a server serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Admits {
    /// Whoever is in the proxy's network namespace.
    OwnNamespace,
    /// Anybody.
    Anybody,
}

impl Admits {
    fn admits(self, stream: &TcpStream, peer: SocketAddr) -> bool {
        self == Self::Anybody || own_listeners::is_opened_here(stream, peer)
    }
}

/// Answers requests, which also learn the address that they came to, until it is dropped.
pub(crate) async fn serve<F, A>(
    listener: std::net::TcpListener,
    what: &'static str,
    admits: Admits,
    respond: F,
) where
    F: Fn(Request<Incoming>, SocketAddr) -> A + Clone + Send + Sync + 'static,
    A: Future<Output = Answer> + Send + 'static,
{
    let listener = match TcpListener::from_std(listener) {
        Ok(listener) => listener,
        Err(error) => {
            tracing::error!(%error, "{what} cannot listen");
            return;
        }
    };
    let mut connections = Connections::default();
    loop {
        let Ok((stream, peer)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        if !admits.admits(&stream, peer) {
            tracing::debug!(%peer, "{what} answers its own network namespace alone");
            stream.abort();
            continue;
        }
        // The client has gone already where it has no address.
        let Ok(local) = stream.local_addr() else { continue };
        connections.make_room(peer.ip());
        let respond = respond.clone();
        let connection = tokio::spawn(async move {
            let service = service_fn(move |request| {
                let answer = respond(request, local);
                async move { Ok::<_, Infallible>(answer.await) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .serve_connection(TokioIo::new(stream), service);
            // A client that goes away early is its own business.
            let _ = connection.await;
        });
        connections.open.push((peer.ip(), connection.abort_handle()));
    }
}

/// The connections that are open, the oldest first.
#[derive(Debug, Default)]
struct Connections {
    open: Vec<(IpAddr, AbortHandle)>,
}

impl Connections {
    /// Makes room for one more: where there are as many as may be, the address that has most of them, be it the one that
    /// opens another, loses its oldest. So nobody can keep out the kubelet, whose connections are few and short.
    fn make_room(&mut self, next: IpAddr) {
        if self.open.len() < MOST_CONNECTIONS {
            return;
        }
        self.open.retain(|(_, connection)| !connection.is_finished());
        if self.open.len() < MOST_CONNECTIONS {
            return;
        }
        let mut counts = HashMap::from([(next, 1)]);
        for (address, _) in &self.open {
            *counts.entry(*address).or_insert(0) += 1;
        }
        let most = counts.values().copied().max().unwrap_or_default();
        let greediest = |(address, _): &(IpAddr, AbortHandle)| counts.get(address) == Some(&most);
        // One that has a single connection, like all others, may be the new one: then the oldest of all goes.
        let position = self.open.iter().position(greediest).unwrap_or_default();
        let (address, connection) = self.open.remove(position);
        tracing::debug!(%address, "closed the oldest connection of the address that has most");
        connection.abort();
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use http::StatusCode;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::super::text;
    use super::*;

    /// A server that answers all but what asks for `/never`.
    fn server() -> SocketAddr {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(serve(listener, "the test's server", Admits::Anybody, |request, _| async move {
            if request.uri().path() == "/never" {
                std::future::pending::<()>().await;
            }
            text(StatusCode::OK, "here\n")
        }));
        address
    }

    async fn ask(stream: &mut TcpStream, path: &str) {
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: a\r\n\r\n").as_bytes()).await.unwrap();
    }

    async fn is_answered(stream: &mut TcpStream) -> bool {
        let mut head = [0; 15];
        stream.read_exact(&mut head).await.is_ok() && &head == b"HTTP/1.1 200 OK"
    }

    #[tokio::test]
    async fn who_holds_many_connections_keeps_nobody_out() {
        let address = server();
        let from = |host: u8| {
            let socket = tokio::net::TcpSocket::new_v4().unwrap();
            socket.bind(SocketAddr::from(([127, 0, 0, host], 0))).unwrap();
            socket.connect(address)
        };
        let mut other = from(9).await.unwrap();
        ask(&mut other, "/").await;
        assert!(is_answered(&mut other).await);
        let mut many = Vec::new();
        for number in 0..MOST_CONNECTIONS * 2 {
            let mut stream = from(1).await.unwrap();
            // Silent, or waiting for an answer that takes long.
            if number % 2 == 0 {
                ask(&mut stream, "/never").await;
            }
            many.push(stream);
        }
        // The first of them were closed, for the later ones of the same address.
        assert!(!is_answered(&mut many[0]).await);
        let mut another = from(8).await.unwrap();
        ask(&mut another, "/").await;
        assert!(is_answered(&mut another).await);
        // It was the oldest of all, and is the only one of its address.
        let mut rest = [0; 512];
        let _ = other.read(&mut rest).await.unwrap();
        ask(&mut other, "/").await;
        assert!(is_answered(&mut other).await);
    }

    #[tokio::test(start_paused = true)]
    async fn a_connection_without_a_request_is_closed() {
        let address = server();
        let mut silent = TcpStream::connect(address).await.unwrap();
        assert_eq!(silent.read(&mut [0; 64]).await.unwrap(), 0);
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET / HT").await.unwrap();
        let mut said = Vec::new();
        slow.read_to_end(&mut said).await.unwrap();
        assert!(!said.starts_with(b"HTTP/1.1 200"));
    }
}
