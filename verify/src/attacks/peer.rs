//! A peer that speaks weft/1 with a certificate of the mesh, and checks nothing of what it sends.

use std::time::{Duration, Instant, SystemTime};

use anyhow::Context;
use bytes::{Bytes, BytesMut};
use http::{Method, Request, request};
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use weft_hop::{Config, Connection, Event, RequestMetadata, Role, StreamId};
use weft_identity::tls::{ALPN_WEFT, Generation};
use weft_identity::{CertificateAuthority, ExpectedIdentities, KeyAndCsr};

use crate::target::{Server, Target};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(3);

/// A peer that speaks weft/1 with a certificate of the mesh, and checks nothing of what it sends.
pub(super) struct Peer {
    stream: TlsStream<TcpStream>,
    connection: Connection,
}

impl Peer {
    /// Connects to the sidecar of `cart` with a certificate of `default/evil`, as one who stole it would.
    pub(super) async fn connect(target: &Target, server: &Server) -> anyhow::Result<Self> {
        let now = SystemTime::now();
        let trust_domain = "cluster.local".parse()?;
        let authority = CertificateAuthority::open(&target.mesh.folder.join("state/ca"), &trust_domain, now)?;
        let request = KeyAndCsr::generate()?;
        let identity = "spiffe://cluster.local/ns/default/sa/evil".parse()?;
        let issued = authority.sign(request.csr_der(), &identity, Duration::from_hours(1), now)?;
        let bundle = authority.bundle().clone().into();
        let generation = Generation::new(request.into_certificate(issued.chain)?, bundle);
        let cart = ExpectedIdentities::one("spiffe://cluster.local/ns/default/sa/cart".parse()?);
        let connector = TlsConnector::from(generation.client(cart, &[ALPN_WEFT]));
        let tcp = TcpStream::connect(server.inbound).await?;
        let stream =
            connector.connect(ServerName::from(server.inbound.ip()), tcp).await.context("handshake")?;
        Ok(Self { stream, connection: Connection::new(Role::Client, Config::default(), Instant::now()) })
    }

    /// Queues a request whose head says what `fields` say, whatever its body is.
    pub(super) fn request(
        &mut self,
        path: &str,
        fields: &[(&str, &str)],
        body: &str,
    ) -> anyhow::Result<StreamId> {
        let mut builder = Request::builder().method(Method::POST).uri(path).header("host", "cart");
        for (name, value) in fields {
            builder = builder.header(*name, *value);
        }
        let (head, ()): (request::Parts, ()) = builder.body(())?.into_parts();
        let stream = self.connection.open_stream(&head, &RequestMetadata::default(), body.is_empty())?;
        if !body.is_empty() {
            self.connection.send_data(stream, Bytes::copy_from_slice(body.as_bytes()), true)?;
        }
        Ok(stream)
    }

    /// Sends what is queued, and says what came back until the stream has ended.
    pub(super) async fn answer(&mut self) -> String {
        let mut seen = Vec::new();
        let exchange = async {
            let mut ended = false;
            let mut input = BytesMut::new();
            while !ended {
                let mut output = BytesMut::new();
                while self.connection.write_into(&mut output, usize::MAX) {}
                self.stream.write_all(&output).await?;
                if self.stream.read_buf(&mut input).await? == 0 {
                    seen.push("end of the connection".to_owned());
                    break;
                }
                self.connection.receive(&mut input, Instant::now())?;
                while let Some(event) = self.connection.poll_event() {
                    match event {
                        Event::Response { head, end, .. } => {
                            seen.push(head.parts.status.as_u16().to_string());
                            ended = end;
                        }
                        Event::Data { end: true, .. } | Event::Trailers { .. } => ended = true,
                        Event::Reset { code, .. } => {
                            seen.push(format!("reset {code:?}"));
                            ended = true;
                        }
                        _ => {}
                    }
                }
            }
            anyhow::Ok(())
        };
        match timeout(PATIENCE, exchange).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => seen.push(error.to_string()),
            Err(_) => seen.push("nothing more".to_owned()),
        }
        seen.join(", ")
    }
}
