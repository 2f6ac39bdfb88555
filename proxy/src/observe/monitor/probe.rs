//! Probing the application.

mod https;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONNECTION, HOST, LOCATION, USER_AGENT};
use http::{HeaderName, HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tonic::transport::Endpoint;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;

/// Time for a probe that names none: whoever asks gives up by itself.
const TIMEOUT: Duration = Duration::from_mins(1);
/// As much of an answer as the kubelet reads.
const BODY_MAX: usize = 10 * 1024;
/// As many redirects as the kubelet follows.
const REDIRECTS_MAX: usize = 10;

/// The application's probes, by `<container>/<startup, readiness or liveness>`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Probes(Arc<BTreeMap<String, Probe>>);

impl Probes {
    /// The probe of this name.
    pub fn get(&self, name: &str) -> Option<&Probe> {
        self.0.get(name)
    }
}

impl FromStr for Probes {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let probes: BTreeMap<String, Probe> =
            serde_json::from_str(text).map_err(|error| format!("not a JSON object of probes: {error}"))?;
        for (name, probe) in &probes {
            let kinds = [probe.http_get.is_some(), probe.tcp_socket.is_some(), probe.grpc.is_some()];
            if kinds.into_iter().filter(|given| *given).count() != 1 {
                return Err(format!("{name:?}: give exactly one of httpGet, tcpSocket and grpc"));
            }
        }
        Ok(Self(Arc::new(probes)))
    }
}

/// A probe as a pod describes it, with a number for its port. What says when to probe is the kubelet's matter.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Probe {
    http_get: Option<HttpGet>,
    tcp_socket: Option<TcpSocket>,
    grpc: Option<Grpc>,
    timeout_seconds: Option<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
struct HttpGet {
    #[serde(default)]
    path: String,
    port: u16,
    host: Option<String>,
    scheme: Option<String>,
    #[serde(default)]
    http_headers: Vec<HttpHeader>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct HttpHeader {
    name: String,
    value: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct TcpSocket {
    port: u16,
    host: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
struct Grpc {
    port: u16,
    service: Option<String>,
}

/// The status that the kubelet is to see, and what it may show.
type Outcome = Result<(StatusCode, Bytes), String>;

impl Probe {
    /// Probes the application at `address`. The error says why it failed.
    pub(super) async fn run(&self, address: IpAddr, agent: Option<&HeaderValue>) -> Outcome {
        let timeout = self.timeout_seconds.map_or(TIMEOUT, |seconds| Duration::from_secs(seconds.max(1)));
        let probe = async {
            match (&self.http_get, &self.tcp_socket, &self.grpc) {
                (Some(get), ..) => get.run(address, agent).await,
                (_, Some(socket), _) => {
                    connect(socket.host.as_deref(), address, socket.port).await?;
                    Ok((StatusCode::OK, Bytes::from_static(b"connected\n")))
                }
                (.., Some(grpc)) => grpc.run(address).await,
                (None, None, None) => Err("the probe is empty".to_owned()),
            }
        };
        tokio::time::timeout(timeout, probe)
            .await
            .unwrap_or_else(|_| Err(format!("no answer in {} s", timeout.as_secs())))
    }
}

async fn connect(host: Option<&str>, address: IpAddr, port: u16) -> Result<TcpStream, String> {
    let connected = match host.filter(|host| !host.is_empty()) {
        Some(host) => TcpStream::connect((host, port)).await,
        None => TcpStream::connect((address, port)).await,
    };
    connected.map_err(|error| match host {
        Some(host) => format!("cannot connect to {host}:{port}: {error}"),
        None => format!("cannot connect to {}: {error}", SocketAddr::new(address, port)),
    })
}

impl HttpGet {
    async fn run(&self, address: IpAddr, agent: Option<&HeaderValue>) -> Outcome {
        let slash = if self.path.starts_with('/') { "" } else { "/" };
        let mut target = format!("{slash}{}", self.path);
        for _ in 0..=REDIRECTS_MAX {
            let response = self.get(&target, address, agent).await?;
            let Some(next) = self.next(&response, address) else { return shown(response).await };
            target = next;
        }
        Err(format!("more than {REDIRECTS_MAX} redirects"))
    }

    async fn get(
        &self,
        target: &str,
        address: IpAddr,
        agent: Option<&HeaderValue>,
    ) -> Result<Response<Incoming>, String> {
        let stream = connect(self.host.as_deref(), address, self.port).await?;
        let request = self.request(target, address, agent)?;
        if self.scheme.as_deref().is_some_and(|scheme| scheme.eq_ignore_ascii_case("https")) {
            let stream = https::handshake(stream, self.host.as_deref(), address).await?;
            return send(stream, request).await;
        }
        send(stream, request).await
    }

    fn request(
        &self,
        target: &str,
        address: IpAddr,
        agent: Option<&HeaderValue>,
    ) -> Result<Request<Empty<Bytes>>, String> {
        let uri: Uri = target.parse().map_err(|_| format!("{target:?} is not a path"))?;
        let mut request = Request::get(uri).body(Empty::new()).map_err(|error| error.to_string())?;
        let headers = request.headers_mut();
        headers.insert(ACCEPT, HeaderValue::from_static("*/*"));
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        if let Some(agent) = agent {
            headers.insert(USER_AGENT, agent.clone());
        }
        let mut own = http::HeaderMap::new();
        for HttpHeader { name, value } in &self.http_headers {
            let parsed = (HeaderName::from_str(name), HeaderValue::from_str(value));
            let (Ok(name), Ok(value)) = parsed else {
                return Err(format!("{name:?}: {value:?} is not a header"));
            };
            own.append(name, value);
        }
        headers.extend(own);
        if !headers.contains_key(HOST) {
            let host = match self.host.as_deref() {
                Some(host) => format!("{host}:{}", self.port),
                None => SocketAddr::new(address, self.port).to_string(),
            };
            headers.insert(HOST, HeaderValue::try_from(host).map_err(|error| error.to_string())?);
        }
        Ok(request)
    }

    /// Where a redirect within the same host leads; one to elsewhere is an answer like another.
    fn next(&self, response: &Response<Incoming>, address: IpAddr) -> Option<String> {
        if !response.status().is_redirection() {
            return None;
        }
        let location: Uri = response.headers().get(LOCATION)?.to_str().ok()?.parse().ok()?;
        let target = location.path_and_query()?.as_str();
        let Some(authority) = location.authority() else { return Some(target.to_owned()) };
        let same_host = match self.host.as_deref() {
            Some(host) => authority.host() == host,
            None => authority.host().trim_matches(['[', ']']).parse() == Ok(address),
        };
        (same_host && authority.port_u16() == Some(self.port)).then(|| target.to_owned())
    }
}

async fn send<S>(stream: S, request: Request<Empty<Bytes>>) -> Result<Response<Incoming>, String>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let broken = |error: hyper::Error| format!("the application's answer: {error}");
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    tokio::spawn(async move {
        // The answer says what there is to say.
        let _ = connection.await;
    });
    sender.send_request(request).await.map_err(broken)
}

/// The application's answer as the kubelet is to see it: to the kubelet a redirect to elsewhere is a success, and must not
/// lead it away from here.
async fn shown(response: Response<Incoming>) -> Outcome {
    let status = match response.status() {
        status if status.is_redirection() => StatusCode::OK,
        status => status,
    };
    // A longer body is no failure; it is only not shown.
    let body = Limited::new(response.into_body(), BODY_MAX).collect().await;
    Ok((status, body.map(http_body_util::Collected::to_bytes).unwrap_or_default()))
}

impl Grpc {
    async fn run(&self, address: IpAddr) -> Outcome {
        let uri = format!("http://{}", SocketAddr::new(address, self.port));
        let endpoint = Endpoint::from_shared(uri).map_err(|error| error.to_string())?;
        let cannot = |error| format!("cannot connect to port {}: {error}", self.port);
        let channel = endpoint.connect().await.map_err(cannot)?;
        let service = self.service.clone().unwrap_or_default();
        let checked = HealthClient::new(channel).check(HealthCheckRequest { service }).await;
        let status = checked.map_err(|status| format!("{:?}: {}", status.code(), status.message()))?;
        match status.into_inner().status() {
            ServingStatus::Serving => Ok((StatusCode::OK, Bytes::from_static(b"serving\n"))),
            other => Err(other.as_str_name().to_owned()),
        }
    }
}
