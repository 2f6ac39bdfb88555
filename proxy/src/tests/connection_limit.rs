//! The limit on connections of clients, and bulk, with sockets of the kernel.

use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use weft_mesh::balance::Locality;
use weft_mesh::protocol::Protocol;
use weft_proto::v1;

use super::world::{inbound_of, local, put_inbound};
use crate::config::Offer;
use crate::inbound;
use crate::observe::stats::Direction;
use crate::outbound;
use crate::runtime::shared::Shared;
use crate::runtime::worker::Worker;
use crate::transport::listener::Bound;
use crate::transport::own_listeners::OwnListeners;

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

/// Opens a connection and sends a request; gives the connection if it is answered.
async fn answered(address: SocketAddr) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(address).await.ok()?;
    stream.write_all(b"GET / HTTP/1.1\r\nhost: a\r\n\r\n").await.ok()?;
    let mut head = [0; 12];
    stream.read_exact(&mut head).await.ok()?;
    (&head == b"HTTP/1.1 204").then_some(stream)
}

#[tokio::test]
async fn who_proves_nothing_leaves_places_to_others() {
    local(async {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let application = server.local_addr().unwrap();
        tokio::task::spawn_local(async move {
            while let Ok((mut stream, _)) = server.accept().await {
                tokio::task::spawn_local(async move {
                    while let Ok(1..) = stream.read(&mut [0; 1024]).await {
                        let _ = stream.write_all(b"HTTP/1.1 204 here\r\n\r\n").await;
                    }
                });
            }
        });
        let (worker, outbound) = listening(application);
        worker.shared.connections.set(8);
        put_inbound(
            &worker,
            &v1::Inbound { default_port: Some(v1::InboundPort::default()), ..v1::Inbound::default() },
        );
        let bound = Bound::bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let (inbound, services) = (bound.address(), vec!["web".to_owned()]);
        let offer = Offer { services, port: 80, protocol: Protocol::Http1, listen: inbound, application };
        let all = OwnListeners::default();
        let stop = CancellationToken::new();
        inbound::listen_offer(&inbound_of(&worker), bound.listener().unwrap(), &offer, &all, stop);
        let mut silent = Vec::new();
        for _ in 0..20 {
            silent.extend(TcpStream::connect(inbound).await.ok());
        }
        // Half of the places are for those who speak in plain text, whatever the silent ones do.
        let mut plain = Vec::new();
        for _ in 0..4 {
            plain.push(answered(inbound).await.expect("a silent one makes room"));
        }
        let before = worker.shared.stats.refused_connections(Direction::Inbound);
        assert!(answered(inbound).await.is_none());
        assert_eq!(worker.shared.stats.refused_connections(Direction::Inbound), before + 1);
        let own = answered(outbound).await;
        assert!(own.is_some(), "the workload's own connection finds a place");
        // Whoever has ended makes room.
        plain.pop();
        while answered(inbound).await.is_none() {}
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
