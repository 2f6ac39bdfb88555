//! Ports that a workload offers, each with a listener of its own.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use weft_mesh::balance::Locality;
use weft_mesh::protocol::Protocol;
use weft_proto::v1;

use super::world::{inbound_of, local, put_inbound};
use crate::config::Offer;
use crate::inbound;
use crate::runtime::shared::Shared;
use crate::runtime::worker::Worker;
use crate::transport::listener::Bound;
use crate::transport::own_listeners::OwnListeners;

/// The control plane knows one protocol for each port number.
#[tokio::test]
async fn services_with_one_port_number_speak_what_each_of_them_declares() {
    const NO_HTTP: &[u8] = b"\x01 is no method\r\n\r\n";
    local(async {
        let (shared, _) = Shared::new(1, Locality::default());
        let worker = Worker::new(shared, Vec::new());
        let application = TcpListener::bind("127.0.0.1:0").await.unwrap();
        for (known, declared) in [(v1::Protocol::Http1, Protocol::Tcp), (v1::Protocol::Tcp, Protocol::Http1)]
        {
            let port = v1::InboundPort { port: 9080, protocol: known.into(), ..v1::InboundPort::default() };
            put_inbound(&worker, &v1::Inbound { ports: vec![port], ..v1::Inbound::default() });
            let bound = Bound::bind("127.0.0.1:0".parse().unwrap()).unwrap();
            let offer = Offer {
                services: vec!["db".into()],
                port: 9080,
                protocol: declared,
                listen: bound.address(),
                application: application.local_addr().unwrap(),
            };
            let all = OwnListeners::default();
            let stop = CancellationToken::new();
            inbound::listen_offer(&inbound_of(&worker), bound.listener().unwrap(), &offer, &all, stop);
            let mut client = TcpStream::connect(bound.address()).await.unwrap();
            client.write_all(NO_HTTP).await.unwrap();
            if declared == Protocol::Tcp {
                let mut arrived = vec![0; NO_HTTP.len()];
                application.accept().await.unwrap().0.read_exact(&mut arrived).await.unwrap();
                assert_eq!(arrived, NO_HTTP);
            } else {
                let mut answer = String::new();
                client.read_to_string(&mut answer).await.unwrap();
                assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
            }
        }
    })
    .await;
}
