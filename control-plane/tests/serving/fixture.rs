//! A control plane in a folder of its own, and what a client of it does.

use std::fmt::Debug;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::{CertificateDer, ServerName};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use weft_control_plane::{ControlPlaneConfig, Running, TokenRequest, create_token, start};
use weft_identity::tls::{ALPN_H2, pinned_client};
use weft_identity::{ExpectedIdentities, Generation, Grants, JoinToken, KeyAndCsr, TrustBundle};
use weft_mesh::name::Identity;
use weft_proto::v1;
use weft_proto::v1::identity_client::IdentityClient;
use weft_proto::v1::register_request::Message;
use weft_proto::v1::registration_client::RegistrationClient;

/// Far longer than anything here takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
const LIFE: Duration = Duration::from_hours(1);

/// Waits for something that is bound to happen.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, what).await.expect("it happens in time")
}

/// Any free port of this machine.
pub(crate) fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// Folders of a control plane, which outlive it.
pub(crate) struct Folders {
    root: TempDir,
}

impl Folders {
    pub(crate) fn new() -> Self {
        let folders = Self { root: tempfile::tempdir().unwrap() };
        std::fs::create_dir(folders.config()).unwrap();
        folders
    }

    pub(crate) fn config(&self) -> std::path::PathBuf {
        self.root.path().join("config")
    }

    pub(crate) fn state(&self) -> std::path::PathBuf {
        self.root.path().join("state")
    }

    /// Writes a file of the configuration as editors do: beside it, and then in its place.
    pub(crate) fn write(&self, name: &str, text: &str) {
        let beside = self.root.path().join("beside");
        std::fs::write(&beside, text).unwrap();
        std::fs::rename(beside, self.config().join(name)).unwrap();
    }

    /// Settings of a control plane in these folders.
    pub(crate) fn settings(&self) -> ControlPlaneConfig {
        ControlPlaneConfig {
            config_dir: Some(self.config()),
            listen: any_port(),
            admin: any_port(),
            ..ControlPlaneConfig::new(self.state(), "cluster.local".parse().unwrap())
        }
    }

    pub(crate) async fn start(&self) -> Running {
        start(self.settings()).await.unwrap()
    }

    /// A token for an account of the namespace `shop`, of the control plane that runs or ran here.
    pub(crate) fn token(&self, account: &str) -> JoinToken {
        self.token_in("shop", account, LIFE, SystemTime::now())
    }

    pub(crate) fn token_in(
        &self,
        namespace: &str,
        account: &str,
        ttl: Duration,
        now: SystemTime,
    ) -> JoinToken {
        token_of(&self.state(), namespace, account, ttl, now)
    }

    /// A token for an account of the namespace `shop` that grants this.
    pub(crate) fn token_granting(&self, account: &str, grants: Grants) -> JoinToken {
        token_with(&self.state(), "shop", account, grants, LIFE, SystemTime::now())
    }

    /// Someone with a certificate for an account of the namespace `shop`.
    pub(crate) async fn join(&self, account: &str) -> Member {
        join(&self.token(account)).await.unwrap()
    }

    /// Someone with a certificate who may look at everything.
    pub(crate) async fn operator(&self) -> Member {
        join(&self.token_in("weft-system", "operator", LIFE, SystemTime::now())).await.unwrap()
    }
}

pub(crate) fn token_of(
    state: &Path,
    namespace: &str,
    account: &str,
    ttl: Duration,
    now: SystemTime,
) -> JoinToken {
    // Its own service, at addresses that tests make up.
    let grants = Grants::new(None, vec!["10.0.0.0/8".parse().unwrap()]).unwrap();
    token_with(state, namespace, account, grants, ttl, now)
}

fn token_with(
    state: &Path,
    namespace: &str,
    account: &str,
    grants: Grants,
    ttl: Duration,
    now: SystemTime,
) -> JoinToken {
    let request = TokenRequest {
        namespace: namespace.to_owned(),
        service_account: account.to_owned(),
        grants,
        ttl,
        control_plane: None,
    };
    JoinToken::parse(&create_token(state, &request, now).unwrap()).unwrap()
}

/// The identity that a control plane has to prove.
fn control_plane() -> ExpectedIdentities {
    ExpectedIdentities::one("spiffe://cluster.local/ns/weft-system/sa/control-plane".parse().unwrap())
}

/// A channel over TLS with these settings.
pub(crate) async fn channel(
    address: &str,
    tls: Arc<ClientConfig>,
) -> Result<Channel, tonic::transport::Error> {
    let target = address.to_owned();
    let connector = tower::service_fn(move |_: http::Uri| {
        let (target, tls) = (target.clone(), Arc::clone(&tls));
        async move {
            let stream = TcpStream::connect(target).await?;
            let name = ServerName::try_from("control-plane").expect("it is a name");
            Ok::<_, std::io::Error>(TokioIo::new(TlsConnector::from(tls).connect(name, stream).await?))
        }
    });
    Endpoint::from_shared(format!("http://{address}")).unwrap().connect_with_connector(connector).await
}

/// A channel of someone who has a token and no certificate.
pub(crate) async fn stranger(token: &JoinToken) -> Channel {
    let tls = pinned_client(token.roots().to_vec(), control_plane(), &[ALPN_H2]);
    channel(token.control_plane().unwrap(), tls).await.unwrap()
}

/// Asks for a certificate; with this token, or else as who the channel's certificate says.
pub(crate) async fn issue(
    channel: Channel,
    bearer: Option<&str>,
    key: &KeyAndCsr,
    ttl: Duration,
) -> Result<v1::IssueResponse, Status> {
    let csr = key.csr_der().to_vec().into();
    let mut request = Request::new(v1::IssueRequest { csr, ttl_seconds: ttl.as_secs() });
    if let Some(bearer) = bearer {
        request.metadata_mut().insert("authorization", format!("Bearer {bearer}").parse().unwrap());
    }
    Ok(soon(IdentityClient::new(channel).issue(request)).await?.into_inner())
}

/// Gets a certificate with a token.
pub(crate) async fn join(token: &JoinToken) -> Result<Member, Status> {
    let key = KeyAndCsr::generate().unwrap();
    let issued = issue(stranger(token).await, Some(token.as_str()), &key, Duration::ZERO).await?;
    let trust_domain = token.claims().trust_domain();
    let mut bundle = TrustBundle::new();
    for root in &issued.roots {
        bundle.add(&trust_domain, &CertificateDer::from(root.to_vec())).unwrap();
    }
    let chain = issued.chain.iter().map(|certificate| CertificateDer::from(certificate.to_vec())).collect();
    let generation = Generation::new(key.into_certificate(chain).unwrap(), Arc::new(bundle));
    Ok(Member { generation, address: token.control_plane().unwrap().to_owned() })
}

/// Someone with a certificate.
#[derive(Clone, Debug)]
pub(crate) struct Member {
    pub(crate) generation: Generation,
    pub(crate) address: String,
}

impl Member {
    pub(crate) fn identity(&self) -> &Identity {
        self.generation.identity()
    }

    pub(crate) async fn channel(&self) -> Result<Channel, tonic::transport::Error> {
        channel(&self.address, self.generation.client(control_plane(), &[ALPN_H2])).await
    }

    /// A TLS connection on which nothing is sent.
    pub(crate) async fn stream(&self) -> TlsStream<TcpStream> {
        let stream = TcpStream::connect(&self.address).await.unwrap();
        let tls = self.generation.client(control_plane(), &[ALPN_H2]);
        let name = ServerName::try_from("control-plane").expect("it is a name");
        TlsConnector::from(tls).connect(name, stream).await.unwrap()
    }

    /// Whether another connection is closed as soon as its handshake is done.
    pub(crate) async fn refused_a_place(&self) -> bool {
        let Ok(channel) = self.channel().await else { return true };
        let key = KeyAndCsr::generate().unwrap();
        issue(channel, None, &key, Duration::ZERO).await.is_err()
    }

    /// Registers a workload that serves port 80 of a service at an address.
    pub(crate) async fn register(
        &self,
        id: &str,
        service: &str,
        address: &str,
    ) -> Result<Registration, Status> {
        self.register_labelled(id, service, address, service).await
    }

    /// The same with another label `app` than the service.
    pub(crate) async fn register_labelled(
        &self,
        id: &str,
        service: &str,
        address: &str,
        app: &str,
    ) -> Result<Registration, Status> {
        let address: SocketAddr = address.parse().unwrap();
        let offer = v1::ServiceOffer {
            service: service.to_owned(),
            port: 80,
            protocol: v1::Protocol::Http1.into(),
            address: address.ip().to_string(),
            address_port: address.port().into(),
            ..v1::ServiceOffer::default()
        };
        let workload = v1::Workload {
            workload_id: id.to_owned(),
            services: vec![offer],
            labels: [("app".to_owned(), app.to_owned())].into(),
            ..v1::Workload::default()
        };
        let (requests, queue) = mpsc::channel(4);
        let request = |message| v1::RegisterRequest { message: Some(message) };
        requests.send(request(Message::Register(workload))).await.unwrap();
        let mut client = RegistrationClient::new(self.channel().await.unwrap());
        let mut answers = soon(client.register(ReceiverStream::new(queue))).await?.into_inner();
        let registered = soon(answers.message()).await?.expect("an answer");
        assert_eq!(registered.workload_id, id);
        Ok(Registration { requests, answers })
    }
}

/// A registration whose stream is open.
pub(crate) struct Registration {
    requests: mpsc::Sender<v1::RegisterRequest>,
    pub(crate) answers: Streaming<v1::RegisterResponse>,
}

impl Registration {
    pub(crate) async fn say(&self, message: Message) {
        self.requests.send(v1::RegisterRequest { message: Some(message) }).await.unwrap();
    }
}

/// The answer of the admin interface: its status and its body.
pub(crate) async fn admin(address: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: control-plane\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = String::new();
    soon(stream.read_to_string(&mut answer)).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
    let status = head.split(' ').nth(1).expect("a status").parse().expect("a number");
    (status, body.to_owned())
}

/// What the admin interface says of the configuration, once it is like this.
pub(crate) async fn config_is(
    running: &Running,
    wanted: impl Fn(&serde_json::Value) -> bool,
) -> serde_json::Value {
    soon(async {
        loop {
            let (_, body) = admin(running.admin, "/config").await;
            let config: serde_json::Value = serde_json::from_str(&body).unwrap();
            if wanted(&config) {
                return config;
            }
            tokio::task::yield_now().await;
        }
    })
    .await
}

/// A call that was refused with this code; gives its message.
pub(crate) fn refused<T: Debug>(answer: Result<T, Status>, code: Code) -> String {
    let status = answer.expect_err("it is refused");
    assert_eq!(status.code(), code, "{status:?}");
    status.message().to_owned()
}

/// A service of `shop` and a route that gives each version its share.
pub(crate) fn split(first: u32, second: u32) -> String {
    format!(
        "apiVersion: v1
kind: Service
metadata: {{name: cart-v1, namespace: shop}}
spec:
  selector: {{app: cart-v1}}
  ports: [{{port: 80, appProtocol: http}}]
---
apiVersion: v1
kind: Service
metadata: {{name: cart-v2, namespace: shop}}
spec:
  selector: {{app: cart-v2}}
  ports: [{{port: 80, appProtocol: http}}]
---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata: {{name: cart, namespace: shop}}
spec:
  parentRefs: [{{group: '', kind: Service, name: cart, port: 80}}]
  rules:
    - backendRefs:
        - {{name: cart-v1, port: 80, weight: {first}}}
        - {{name: cart-v2, port: 80, weight: {second}}}
"
    )
}

/// The shares of the first rule of a destination's first route.
pub(crate) fn shares(destination: &v1::Destination) -> Vec<u32> {
    let rule = destination.http_routes.first().and_then(|route| route.rules.first());
    rule.map_or_else(Vec::new, |rule| rule.backends.iter().map(|backend| backend.weight).collect())
}
