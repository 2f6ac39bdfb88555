//! A connection that breaks off on one side does so on the other, and one that ends in order ends in order.

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use weft_mesh::balance::Locality;
use weft_proto::v1;

use super::forward_proxy::{head, tunnel};
use super::network;
use super::world::*;
use crate::inbound::{self, Arrival};
use crate::outbound::{self, Downstream, Target};
use crate::runtime::shared::Shared;
use crate::runtime::worker::Worker;
use crate::snapshot::convert;
use crate::transport::stream::Transport;
use crate::transport::unproven::Standing;
use crate::transport::within::{Within, within};
use crate::upstream::local::Local;

const HOPS: [v1::Hop; 3] = [v1::Hop::Weft, v1::Hop::Standard, v1::Hop::Plain];
const SIDES: [Side; 2] = [Side::Client, Side::Application];

/// Who breaks off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Side {
    Client,
    Application,
}

/// What has ended before something breaks off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Before {
    Nothing,
    /// The direction from the side that breaks off.
    Own,
    /// The direction to it.
    Other,
}

/// The connections that an application gets.
fn accepted(address: SocketAddr) -> mpsc::UnboundedReceiver<Within> {
    let (give, take) = mpsc::unbounded_channel();
    network::listen(address, move |stream| {
        let _ = give.send(stream);
        async {}
    });
    take
}

/// `reviews:9080`, declared to speak `protocol`.
fn declared(protocol: v1::Protocol) -> v1::Destination {
    let backend = v1::Backend { protocol: protocol.into(), ..backend("reviews") };
    v1::Destination { protocol: protocol.into(), backend: Some(backend), ..destination() }
}

/// A mesh whose only endpoint is reached by `hop`, and speaks `protocol`.
fn mesh(hop: v1::Hop, protocol: v1::Protocol) -> Mesh {
    let mesh = Mesh::new(&declared(protocol), &[endpoint(2, hop)]);
    let port = v1::InboundPort { protocol: protocol.into(), ..v1::InboundPort::default() };
    mesh.sidecar(2, &v1::Inbound { default_port: Some(port), ..v1::Inbound::default() });
    mesh
}

fn dial(mesh: &Mesh) -> Within {
    let (near, far) = within(64);
    let downstream = Downstream::new(Target::Fixed("reviews:9080".into()), at(1, 40_001));
    tokio::task::spawn_local(outbound::dialled(Rc::clone(&mesh.worker), far, Rc::new(downstream)));
    near
}

async fn talk(client: &mut (impl Transport + Send), application: &mut (impl Transport + Send)) {
    let mut bytes = [0; 5];
    client.write_all(b"hello").await.unwrap();
    application.read_exact(&mut bytes).await.unwrap();
    application.write_all(b"world").await.unwrap();
    client.read_exact(&mut bytes).await.unwrap();
    assert_eq!(&bytes, b"world");
}

/// How a side learns of the end, which may take as long as a look at what has ended in one direction.
async fn end(stream: &mut impl Transport, before: Before) -> io::Result<usize> {
    let ending = async {
        loop {
            match stream.read(&mut [0; 64]).await {
                Ok(0) if before == Before::Own => sleep(Duration::from_millis(100)).await,
                read => return read,
            }
        }
    };
    timeout(Duration::from_mins(1), ending).await.expect("it does not end")
}

/// Has one side break off, and the other one hear of it.
async fn breaks_off<C: Transport + Send, A: Transport + Send>(
    (mut client, mut application): (C, A),
    side: Side,
    before: Before,
    what: &str,
) {
    talk(&mut client, &mut application).await;
    let by_client = (side == Side::Client) == (before == Before::Own);
    match before {
        Before::Nothing => {}
        _ if by_client => {
            client.shutdown().await.unwrap();
            assert_eq!(application.read(&mut [0]).await.unwrap(), 0, "{what}");
        }
        _ => {
            application.shutdown().await.unwrap();
            assert_eq!(client.read(&mut [0]).await.unwrap(), 0, "{what}");
        }
    }
    let heard = match side {
        Side::Client => {
            client.abort();
            drop(client);
            end(&mut application, before).await
        }
        Side::Application => {
            application.abort();
            drop(application);
            end(&mut client, before).await
        }
    };
    let kind = heard.as_ref().map_err(io::Error::kind);
    assert_eq!(kind.err(), Some(io::ErrorKind::ConnectionReset), "{what}: {heard:?}");
}

#[tokio::test(start_paused = true)]
async fn a_reset_of_opaque_bytes_goes_on_over_every_kind_of_hop() {
    for hop in HOPS {
        for protocol in [v1::Protocol::Tcp, v1::Protocol::default()] {
            for side in SIDES {
                for before in [Before::Nothing, Before::Own, Before::Other] {
                    local(async {
                        let mesh = mesh(hop, protocol);
                        let mut accepted = accepted(application_at(2));
                        let mut client = dial(&mesh);
                        // Where nothing is declared, what the client says opens the connection to the application.
                        client.write_all(b"?").await.unwrap();
                        let mut application = accepted.recv().await.unwrap();
                        application.read_exact(&mut [0]).await.unwrap();
                        let what = format!("{hop:?} {protocol:?} {side:?} {before:?}");
                        breaks_off((client, application), side, before, &what).await;
                    })
                    .await;
                }
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_reset_before_either_side_has_spoken_goes_on() {
    for side in SIDES {
        local(async {
            let mesh = mesh(v1::Hop::Plain, v1::Protocol::default());
            let mut accepted = accepted(application_at(2));
            let mut client = dial(&mesh);
            let mut application = accepted.recv().await.unwrap();
            let heard = match side {
                Side::Client => {
                    client.abort();
                    drop(client);
                    end(&mut application, Before::Nothing).await
                }
                Side::Application => {
                    application.abort();
                    drop(application);
                    end(&mut client, Before::Nothing).await
                }
            };
            assert_eq!(heard.unwrap_err().kind(), io::ErrorKind::ConnectionReset, "{side:?}");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_end_in_order_and_an_idle_one_are_no_reset_on_any_kind_of_hop() {
    for hop in HOPS {
        for idle in [false, true] {
            local(async {
                let mesh = mesh(hop, v1::Protocol::Tcp);
                let mut accepted = accepted(application_at(2));
                let mut client = dial(&mesh);
                let mut application = accepted.recv().await.unwrap();
                talk(&mut client, &mut application).await;
                if idle {
                    sleep(Duration::from_mins(61)).await;
                } else {
                    application.shutdown().await.unwrap();
                }
                assert_eq!(client.read(&mut [0]).await.unwrap(), 0, "{hop:?}");
                drop(client);
                assert_eq!(application.read(&mut [0]).await.unwrap(), 0, "{hop:?}");
            })
            .await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_reset_of_a_connection_that_was_upgraded_goes_on_over_every_kind_of_hop() {
    for hop in HOPS {
        for side in SIDES {
            local(async {
                let _mesh = mesh(hop, v1::Protocol::Http1);
                let mut accepted = accepted(application_at(2));
                let mut client = network::connect(outbound()).unwrap().await.unwrap();
                let asking = b"GET / HTTP/1.1\r\nhost: reviews:9080\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
                client.write_all(asking).await.unwrap();
                let mut application = accepted.recv().await.unwrap();
                head(&mut application).await;
                let agreed = b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
                application.write_all(agreed).await.unwrap();
                head(&mut client).await;
                breaks_off((client, application), side, Before::Nothing, &format!("{hop:?} {side:?}")).await;
            })
            .await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_reset_goes_on_through_a_tunnel_that_the_client_asks_its_sidecar_for() {
    for hop in HOPS {
        for side in SIDES {
            local(async {
                let mesh = mesh(hop, v1::Protocol::Tcp);
                mesh.answer_lookups();
                for (target, address) in [("reviews:9080", application_at(2)), ("10.0.0.9:443", at(9, 443))] {
                    let mut accepted = accepted(address);
                    let (answer, mut client) = tunnel(target).await;
                    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
                    client.write_all(b"?").await.unwrap();
                    let mut application = accepted.recv().await.unwrap();
                    application.read_exact(&mut [0]).await.unwrap();
                    let what = format!("{hop:?} {side:?} {target}");
                    breaks_off((client, application), side, Before::Nothing, &what).await;
                }
            })
            .await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_breaks_off_is_not_whole_for_a_client_that_knows_no_chunks() {
    for hop in HOPS {
        for breaks_off in [true, false] {
            local(async {
                let _mesh = mesh(hop, v1::Protocol::Http1);
                let mut accepted = accepted(application_at(2));
                let mut client = network::connect(outbound()).unwrap().await.unwrap();
                client.write_all(b"GET / HTTP/1.0\r\nhost: reviews:9080\r\n\r\n").await.unwrap();
                let mut application = accepted.recv().await.unwrap();
                head(&mut application).await;
                let answer = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n";
                application.write_all(answer).await.unwrap();
                head(&mut client).await;
                let mut body = [0; 5];
                client.read_exact(&mut body).await.unwrap();
                if !breaks_off {
                    application.write_all(b"0\r\n\r\n").await.unwrap();
                }
                drop(application);
                let heard = end(&mut client, Before::Nothing).await.map_err(|error| error.kind());
                let expected = if breaks_off { Err(io::ErrorKind::ConnectionReset) } else { Ok(0) };
                assert_eq!(heard, expected, "{hop:?}");
            })
            .await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_nobody_takes_is_reset() {
    local(async {
        let mesh = mesh(v1::Hop::Weft, v1::Protocol::Tcp);
        // Nobody listens at the application.
        network::refuse(application_at(2));
        let mut through_both = dial(&mesh);
        let mut to_its_sidecar = network::connect(inbound(2)).unwrap().await.unwrap();
        for stream in [&mut through_both, &mut to_its_sidecar] {
            let heard = end(stream, Before::Nothing).await;
            assert_eq!(heard.unwrap_err().kind(), io::ErrorKind::ConnectionReset);
        }
    })
    .await;
}

/// A sidecar behind a socket of the kernel, in front of the application at `application`; gives its address.
async fn sidecar_of_the_kernel(mesh: &Mesh, application: SocketAddr) -> SocketAddr {
    let (shared, _) = Shared::new(1, Locality::default());
    let worker = Worker::new(shared, Vec::new());
    put_tls(&worker, mesh.authority.tls(1, "reviews"));
    let port = v1::InboundPort { protocol: v1::Protocol::Tcp.into(), ..v1::InboundPort::default() };
    let inbound = v1::Inbound { default_port: Some(port), ..v1::Inbound::default() };
    let inbound = convert::inbound(&inbound, &"mesh.test".parse().unwrap()).unwrap();
    let mut snapshot = (*worker.snapshot()).clone();
    snapshot.number += 1;
    snapshot.inbound = std::sync::Arc::new(inbound);
    worker.shared.snapshot.store(std::sync::Arc::new(snapshot));
    let arrival = Arrival {
        service: "reviews".into(),
        port: 9080,
        application: Local::exactly(application),
        protocol: None,
    };
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::task::spawn_local(async move {
        let (stream, peer) = listener.accept().await.unwrap();
        inbound::connection::serve(inbound_of(&worker), stream, peer, arrival, Standing::default()).await;
    });
    address
}

#[tokio::test]
async fn a_reset_goes_on_between_sockets_of_the_kernel() {
    for hop in HOPS {
        for side in SIDES {
            local(async {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let own = listener.local_addr().unwrap();
                let mesh = mesh(hop, v1::Protocol::Tcp);
                // From now on what is connected to is the kernel's.
                for place in [outbound(), inbound(2)] {
                    network::refuse(place);
                }
                let address = match hop {
                    v1::Hop::Plain => own,
                    _ => sidecar_of_the_kernel(&mesh, own).await,
                };
                let endpoint = v1::Endpoint {
                    address: address.ip().to_string(),
                    port: address.port().into(),
                    ..endpoint(2, hop)
                };
                mesh.configure(&declared(v1::Protocol::Tcp), &[endpoint]);
                let entry = TcpListener::bind("127.0.0.1:0").await.unwrap();
                let client = TcpStream::connect(entry.local_addr().unwrap()).await.unwrap();
                let (near, source) = entry.accept().await.unwrap();
                let downstream = Downstream::new(Target::Fixed("reviews:9080".into()), source);
                let worker = Rc::clone(&mesh.worker);
                tokio::task::spawn_local(outbound::dialled(worker, near, Rc::new(downstream)));
                let (application, _) = listener.accept().await.unwrap();
                breaks_off((client, application), side, Before::Nothing, &format!("{hop:?} {side:?}")).await;
            })
            .await;
        }
    }
}
