//! Whether a pair does what is measured: only mutual TLS 1.3 gets through the hop, and all traffic is inside it.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, ensure};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ProtocolVersion};
use serde::Serialize;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use crate::options;
use crate::sample;
use crate::workload::WorkloadName;
use relay::Relay;
use weft_harness::certificates::Certificates;
use weft_harness::load::http1;
use weft_harness::protocol::Protocol;
use weft_harness::subject::Subject;
use weft_harness::testbed::{HopPorts, Setting, Testbed};

mod any_server;
mod relay;

/// How long a peer may take to refuse; one that says nothing at all for so long has not answered either.
const REFUSAL_DEADLINE: Duration = Duration::from_secs(2);

/// What the hop was found to be.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct HopFacts {
    /// The cipher suite of the connections between the sidecars, `None` if the subject has no relay.
    pub(crate) cipher_suite: Option<&'static str>,
    /// TLS connections between the sidecars under the workload's concurrency.
    pub(crate) connections: Option<usize>,
    /// Bytes on the hop per request, both directions, handshakes included.
    pub(crate) bytes_per_request: Option<f64>,
}

/// Checks every chosen subject with both protocols.
pub(crate) async fn run(options: options::Check) -> anyhow::Result<()> {
    let selection = &options.selection;
    let subjects = Subject::select(&selection.subjects)?;
    let setting = Setting::prepare(selection.placing.cores())?;
    for subject in &subjects {
        for protocol in Protocol::ALL {
            let facts = verify(subject, protocol, &setting).await?;
            println!("{} {}: ok {}", subject.name, protocol.name(), serde_json::to_string(&facts)?);
        }
    }
    Ok(())
}

/// Fails unless `subject` behaves; returns what there is to know about its hop, nothing for one without.
pub(crate) async fn verify(
    subject: &Subject,
    protocol: Protocol,
    setting: &Setting,
) -> anyhow::Result<Option<HopFacts>> {
    let context = || format!("checking {} with {}", subject.name, protocol.name());
    let Some(pair) = &subject.pair else {
        load_briefly(subject, protocol, setting, HopPorts::plain()?).await.with_context(context)?;
        return Ok(None);
    };
    let ports = HopPorts::plain()?;
    let stage = Testbed::start(subject, protocol, setting, ports).await?;
    let alpn = pair.hop.alpn.as_deref().unwrap_or(protocol.alpn());
    refuses_strangers(ports.listens, alpn, &setting.certificates).await.with_context(context)?;
    stage.stop().await;
    if !pair.hop.relay {
        load_briefly(subject, protocol, setting, ports).await.with_context(context)?;
        return Ok(Some(HopFacts { cipher_suite: None, connections: None, bytes_per_request: None }));
    }
    watched_hop(subject, protocol, setting).await.with_context(context).map(Some)
}

/// Sends load through a pair whose hop goes through a relay, and requires that the relay sees nothing but TLS 1.3.
async fn watched_hop(subject: &Subject, protocol: Protocol, setting: &Setting) -> anyhow::Result<HopFacts> {
    let listens = HopPorts::plain()?.listens;
    let relay = Relay::start(listens).await?;
    let ports = HopPorts { listens, dialled: relay.port() };
    let answered = load_briefly(subject, protocol, setting, ports).await?;
    let seen = relay.seen();
    ensure!(
        !seen.is_empty(),
        "no connection went through the relay between the sidecars: does it dial hop_target?"
    );
    let mut cipher_suite = None;
    for connection in seen.iter().filter(|connection| connection.bytes() > 0) {
        let suite =
            connection.tls13_cipher_suite().context("a connection between the sidecars isn't TLS 1.3")?;
        cipher_suite = Some(suite);
    }
    let bytes: u64 = seen.iter().map(|connection| connection.bytes()).sum();
    let connections = Some(seen.len());
    Ok(HopFacts { cipher_suite, connections, bytes_per_request: Some(bytes as f64 / answered as f64) })
}

/// One second of the workload's concurrency; returns how many requests were answered.
async fn load_briefly(
    subject: &Subject,
    protocol: Protocol,
    setting: &Setting,
    ports: HopPorts,
) -> anyhow::Result<u64> {
    let mut stage = Testbed::start(subject, protocol, setting, ports).await?;
    let name = if protocol == Protocol::H1 { WorkloadName::H1 } else { WorkloadName::H2 };
    let sample = sample::measure(&mut stage, &name.workload(0), setting.cores, 0, 1).await?;
    stage.stop().await;
    ensure!(sample.outcome.failures.is_empty(), "requests failed: {:?}", sample.outcome.failures);
    Ok(sample.outcome.answered)
}

/// Fails if the server's sidecar on `port` answers anybody without a certificate of the mesh.
async fn refuses_strangers(port: u16, alpn: &str, certificates: &Certificates) -> anyhow::Result<()> {
    let connect =
        || async move { TcpStream::connect(("127.0.0.1", port)).await.context("connecting to the hop") };
    let plain = answer_to(connect().await?, "http/1.1").await;
    ensure!(!plain.contains_answer(), "the server's sidecar answers in plaintext: {:?}", plain.text());
    let plain = answer_to(connect().await?, "h2").await;
    ensure!(!plain.contains_answer(), "the server's sidecar answers plaintext HTTP/2: {:?}", plain.text());
    let strangers = [("no client certificate", None), ("another root's certificate", Some("stranger"))];
    for (what, who) in strangers {
        let connector = TlsConnector::from(Arc::new(client_config(alpn, who, certificates)?));
        let name = ServerName::try_from("server.bench.test")?;
        // The handshake ends for the client before the server looks at its certificate (RFC 8446 section 2), so
        // the version is known in any case.
        let stream = connector.connect(name, connect().await?).await.context("TLS handshake with the hop")?;
        let version = stream.get_ref().1.protocol_version();
        ensure!(
            version == Some(ProtocolVersion::TLSv1_3),
            "the hop negotiates {version:?} instead of TLS 1.3"
        );
        let negotiated =
            stream.get_ref().1.alpn_protocol().map(|id| String::from_utf8_lossy(id).into_owned());
        let answer = answer_to(stream, negotiated.as_deref().unwrap_or(alpn)).await;
        ensure!(!answer.contains_answer(), "the server's sidecar answers with {what}: {:?}", answer.text());
    }
    Ok(())
}

fn client_config(alpn: &str, who: Option<&str>, certificates: &Certificates) -> anyhow::Result<ClientConfig> {
    peer_config(alpn, who.map(|who| certificates.read(who)).transpose()?)
}

/// A client that shows this certificate, or none, and takes every server for the right one.
pub(crate) fn peer_config(
    alpn: &str,
    certificate: Option<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>)>,
) -> anyhow::Result<ClientConfig> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let verifier = Arc::new(any_server::AnyServer::new(&provider));
    let builder =
        ClientConfig::builder_with_provider(provider).with_protocol_versions(&[&rustls::version::TLS13])?;
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = match certificate {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => builder.with_client_auth_cert(chain, key)?,
    };
    config.alpn_protocols = vec![alpn.as_bytes().to_vec()];
    Ok(config)
}

/// What a peer said.
struct Said(Vec<u8>);

impl Said {
    /// Whether it is an answer of the application's, or HTTP/2 that goes on to one. An HTTP/1.1 error or a GOAWAY is a
    /// way to refuse.
    fn contains_answer(&self) -> bool {
        // An HTTP/2 server begins with SETTINGS, type 4 on stream 0 (RFC 9113 section 3.4).
        let settings = matches!(self.0.as_slice(), [_, _, _, 4, _, 0, 0, 0, 0, ..]);
        self.0.starts_with(b"HTTP/1.1 2") || settings
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(self.0.get(..100).unwrap_or(&self.0)).into_owned()
    }
}

/// Sends a request in the protocol that `alpn` names and returns what comes back until the end or the deadline.
async fn answer_to(mut stream: impl AsyncRead + AsyncWrite + Unpin, alpn: &str) -> Said {
    let request = if alpn == "h2" {
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0".to_vec()
    } else {
        http1::request("server.bench.test")
    };
    let mut said = Vec::new();
    let exchange = async {
        stream.write_all(&request).await?;
        while stream.read_buf(&mut said).await? > 0 {}
        std::io::Result::Ok(())
    };
    // A reset or a TLS alert is the refusal that is hoped for.
    let _refused = timeout(REFUSAL_DEADLINE, exchange).await;
    Said(said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_from_refusals() {
        assert!(Said(b"HTTP/1.1 200 OK\r\n".to_vec()).contains_answer());
        assert!(Said(b"\0\0\x12\x04\0\0\0\0\0".to_vec()).contains_answer());
        assert!(!Said(b"HTTP/1.1 400 Bad Request\r\n".to_vec()).contains_answer());
        assert!(!Said(Vec::new()).contains_answer());
    }
}
