//! The limit on connections of clients, and bulk, with sockets of the kernel.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use weft_mesh::balance::Locality;

use super::world::local;
use crate::outbound;
use crate::shared::Shared;
use crate::stats::Direction;
use crate::stream::listener::Bound;
use crate::worker::Worker;

/// A proxy whose local listener leads to `destination`, outside the mesh, and where that listens.
fn listening(destination: SocketAddr) -> (Rc<Worker>, SocketAddr) {
    let (shared, _) = Shared::new(1, Locality::default());
    let worker = Worker::new(shared, Vec::new());
    let mut snapshot = (*worker.snapshot()).clone();
    snapshot.destinations.insert(destination.to_string().as_str().into(), None);
    worker.shared.snapshot.store(Arc::new(snapshot));
    let bound = Bound::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let (listener, name) = (bound.listener().unwrap(), destination.to_string().as_str().into());
    outbound::listen_local(&worker, listener, name, &Arc::default(), CancellationToken::new());
    (worker, bound.address())
}

#[tokio::test]
async fn a_connection_beyond_the_limit_is_refused_and_counted_also_while_the_others_are_tunnels() {
    local(async {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (worker, proxy) = listening(server.local_addr().unwrap());
        worker.shared.connections.set(1);
        let mut client = TcpStream::connect(proxy).await.unwrap();
        client
            .write_all(b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n")
            .await
            .unwrap();
        let (mut application, _) = server.accept().await.unwrap();
        let mut head = vec![0; 1024];
        assert_ne!(application.read(&mut head).await.unwrap(), 0);
        application
            .write_all(b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo\r\n\r\n")
            .await
            .unwrap();
        assert_ne!(client.read(&mut head).await.unwrap(), 0);
        // What the connection began with has ended, and it is there still.
        for refused in 1..=2 {
            let beyond = async { TcpStream::connect(proxy).await?.read(&mut head).await };
            beyond.await.unwrap_err();
            assert_eq!(worker.shared.stats.refused_connections(Direction::Outbound), refused);
        }
        client.write_all(b"through the tunnel").await.unwrap();
        application.read_exact(&mut [0; 18]).await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn the_kernel_moves_what_a_plain_connection_carries_in_bulk() {
    const MUCH: usize = 24 * 1024 * 1024;
    local(async {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (worker, proxy) = listening(server.local_addr().unwrap());
        let (mut client, accepted) = tokio::join!(TcpStream::connect(proxy), server.accept());
        let (client, mut application) = (client.as_mut().unwrap(), accepted.unwrap().0);
        application.write_all(b"opaque").await.unwrap();
        let much = vec![7; MUCH];
        let mut received = Vec::new();
        tokio::join!(
            async {
                client.read_exact(&mut [0; 6]).await.unwrap();
                client.write_all(&much).await.unwrap();
                client.shutdown().await.unwrap();
            },
            async { application.read_to_end(&mut received).await.unwrap() },
        );
        assert!(received == much);
        assert_eq!(worker.pipes.count(), (0, 1));
    })
    .await;
}
