//! Connections of which nothing is declared: whoever speaks first tells what they are.

use std::rc::Rc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::{Instant, sleep};
use weft_identity::ExpectedIdentities;
use weft_proto::v1;

use super::network;
use super::world::*;
use crate::outbound::{self, Downstream, Target};
use crate::transport::within::{Within, within};

/// A connection of the client's application that its sidecar takes.
pub(super) fn dial(mesh: &Mesh) -> Within {
    let (near, far) = within(64);
    let downstream = Downstream::new(Target::Fixed("reviews:9080".into()), at(1, 40_001));
    tokio::task::spawn_local(outbound::dialled(Rc::clone(&mesh.worker), far, Rc::new(downstream)));
    near
}

/// An application that greets and then says back what it hears, like SMTP's.
fn greeter(host: u8) {
    network::listen(application_at(host), |mut stream| async move {
        stream.write_all(b"220 ready\r\n").await.unwrap();
        let (mut read, mut write) = tokio::io::split(stream);
        let _ = tokio::io::copy(&mut read, &mut write).await;
        let _ = write.shutdown().await;
    });
}

async fn talk(mut stream: Within) {
    let began = Instant::now();
    let mut greeting = [0; 11];
    stream.read_exact(&mut greeting).await.unwrap();
    assert_eq!(&greeting, b"220 ready\r\n");
    assert!(began.elapsed() < Duration::from_millis(110), "{:?}", began.elapsed());
    stream.write_all(b"HELO me\r\n").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    assert_eq!(answer, "HELO me\r\n");
}

#[tokio::test(start_paused = true)]
async fn a_server_that_speaks_first_is_heard_through_every_kind_of_hop() {
    for hop in [v1::Hop::Weft, v1::Hop::Standard, v1::Hop::Plain] {
        local(async {
            let mesh = Mesh::new(&destination(), &[endpoint(2, hop)]);
            mesh.sidecar(2, &v1::Inbound::default());
            greeter(2);
            talk(dial(&mesh)).await;
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_server_that_speaks_first_is_heard_by_clients_outside_the_mesh() {
    for protocol in [v1::Protocol::default(), v1::Protocol::Tcp] {
        local(async {
            let mesh = Mesh::with_sidecars(&[]);
            let port = v1::InboundPort { protocol: protocol.into(), ..v1::InboundPort::default() };
            mesh.sidecar(2, &v1::Inbound { default_port: Some(port), ..v1::Inbound::default() });
            greeter(2);
            talk(network::connect(inbound(2)).unwrap().await.unwrap()).await;
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn http_is_seen_however_slowly_it_comes() {
    local(async {
        let mesh = Mesh::with_sidecars(&[2]);
        echo(2);
        let mut stream = dial(&mesh);
        let (first, rest) = b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n".split_at(12);
        for byte in first {
            sleep(Duration::from_secs(4)).await;
            stream.write_all(&[*byte]).await.unwrap();
        }
        stream.write_all(rest).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("x-host: 2"), "{answer}");
        assert_eq!(succeeded(&mesh), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_client_that_only_listens_gets_what_the_server_says() {
    local(async {
        let mesh = Mesh::with_sidecars(&[2]);
        network::listen(application_at(2), |mut stream| async move {
            stream.read_to_end(&mut Vec::new()).await.unwrap();
            stream.write_all(b"noon").await.unwrap();
        });
        let mut stream = dial(&mesh);
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert_eq!(answer, "noon");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn tls_of_others_reaches_an_application_that_declares_no_http() {
    local(async {
        let mesh = Mesh::with_sidecars(&[2]);
        network::listen(application_at(2), |mut stream| async move {
            let mut record = [0; 3];
            stream.read_exact(&mut record).await.unwrap();
            assert_eq!(record, [22, 3, 1]);
            stream.write_all(b"mine").await.unwrap();
        });
        let generation = mesh.authority.issue("web", Duration::from_hours(1), std::time::SystemTime::now());
        let expected = ExpectedIdentities::one(identity("reviews").parse().unwrap());
        let config = generation.client(expected, &[]);
        let name = ServerName::try_from("reviews.example").unwrap();
        let mut hello = Vec::new();
        rustls::ClientConnection::new(config, name).unwrap().write_tls(&mut hello).unwrap();
        for mut stream in [dial(&mesh), network::connect(inbound(2)).unwrap().await.unwrap()] {
            let (mut read, mut write) = tokio::io::split(&mut stream);
            let mut answer = [0; 4];
            // The application does not read all of it.
            let (_, read) = tokio::join!(write.write_all(&hello), read.read_exact(&mut answer));
            read.unwrap();
            assert_eq!(&answer, b"mine");
        }
    })
    .await;
}
