//! A control plane that keeps everything in memory, signs whatever it is asked to, and can be broken.

use std::collections::BTreeMap;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf, copy_bidirectional, duplex};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::StreamExt;
use tokio_stream::wrappers::{ReceiverStream, UnboundedReceiverStream};
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status, Streaming};
use weft_identity::tls::ALPN_H2;
use weft_identity::{
    CaMaterial, CertificateAuthority, Generation, Grants, JoinToken, KeyAndCsr, NewToken, TokenIssuer,
    peer_identity,
};
use weft_mesh::name::TrustDomain;
use weft_proto::{Resource, v1};
use weft_xds::server::{ClientContext, Lookup, Members, Notifier, Observer, Peer, ResourceSource};
use weft_xds::{EncodedResource, Rejection, collection_of};

use super::super::transport::{Dial, Stream};

/// Life of a certificate.
const LIFE: Duration = Duration::from_hours(1);

/// Age of a discovery stream, more or less: well before a certificate is renewed.
const MAX_AGE: Duration = Duration::from_mins(10);

/// What the control plane holds and has seen.
#[derive(Default)]
struct State {
    down: bool,
    /// Who has its address instead.
    instead: Option<Plane>,
    /// Calls to sign that are refused: with a token, with a certificate.
    refuse: (Option<Status>, Option<Status>),
    connections: Vec<JoinHandle<()>>,
    /// How many connections there ever were.
    connected: usize,
    issued: Vec<&'static str>,
    revoked: Vec<String>,
    registration: Vec<String>,
    refuse_registration: Option<Status>,
    reports: Vec<v1::TelemetryReport>,
    refuse_reports: bool,
    resources: BTreeMap<(String, String), Arc<EncodedResource>>,
    /// Whether there is such a collection.
    collections: BTreeMap<String, bool>,
    nacks: Vec<String>,
}

/// A control plane. Cheap to clone; all clones are the same.
#[derive(Clone)]
pub(super) struct Plane {
    state: Arc<Mutex<State>>,
    notifier: Notifier,
    authority: Arc<CertificateAuthority>,
    generation: Generation,
    incoming: mpsc::UnboundedSender<io::Result<Served>>,
}

fn trust_domain() -> TrustDomain {
    "mesh.example".parse().unwrap()
}

fn authority() -> CertificateAuthority {
    let now = SystemTime::now();
    let material = CaMaterial::generate(&trust_domain(), now).unwrap();
    CertificateAuthority::from_pem(&material, "", &trust_domain(), now).unwrap()
}

impl Plane {
    /// One that serves, and lets everyone into workload `web-1`.
    pub(super) fn start() -> Self {
        let authority = authority();
        let (key, identity) =
            (KeyAndCsr::generate().unwrap(), "spiffe://mesh.example/ns/weft-system/sa/control-plane");
        let issued =
            authority.sign(key.csr_der(), &identity.parse().unwrap(), LIFE, SystemTime::now()).unwrap();
        let certificate = key.into_certificate(issued.chain).unwrap();
        let generation = Generation::new(certificate, Arc::new(authority.bundle().clone()));
        let (incoming, connections) = mpsc::unbounded_channel();
        let plane = Self {
            state: Arc::default(),
            notifier: Notifier::new(),
            authority: Arc::new(authority),
            generation,
            incoming,
        };
        let caller = |_: &tonic::metadata::MetadataMap, extensions: &http::Extensions| {
            let Some(Some(identity)) = extensions.get::<Option<String>>().cloned() else {
                return Err(Status::unauthenticated("a certificate is needed"));
            };
            Ok(Peer { identity: identity.as_str().into(), namespace: "shop".into() })
        };
        let discovery = weft_xds::server::Server::new(
            weft_xds::server::Config { max_age: Some(MAX_AGE), ..weft_xds::server::Config::default() },
            Arc::new(plane.clone()),
            plane.notifier.clone(),
            caller,
            plane.clone(),
        );
        let server = Server::builder()
            .add_service(v1::identity_server::IdentityServer::new(plane.clone()))
            .add_service(v1::registration_server::RegistrationServer::new(plane.clone()))
            .add_service(v1::telemetry_server::TelemetryServer::new(plane.clone()))
            .add_service(discovery)
            .serve_with_incoming(UnboundedReceiverStream::new(connections));
        tokio::spawn(server);
        plane.set(super::WORKLOAD, &v1::Inbound::default());
        plane
    }

    /// The mesh's roots, PEM.
    pub(super) fn roots(&self) -> String {
        self.authority.bundle().to_pem(&trust_domain())
    }

    /// A token for `shop/web`.
    pub(super) fn token(&self) -> String {
        let new = NewToken {
            identity: "spiffe://mesh.example/ns/shop/sa/web".parse().unwrap(),
            roots: self.authority.bundle().fingerprints(&trust_domain()),
            control_plane: None,
            grants: Grants::default(),
            ttl: Duration::from_hours(24),
        };
        let issuer = TokenIssuer::from_key(&TokenIssuer::generate_key()).unwrap();
        let token = issuer.mint(&new, SystemTime::now()).unwrap();
        assert!(JoinToken::parse(&token).is_ok());
        token
    }

    /// Connections to it.
    pub(super) fn dial(&self) -> Dial {
        let plane = self.clone();
        Arc::new(move || {
            let plane = plane.clone();
            Box::pin(async move { plane.connect() })
        })
    }

    fn connect(&self) -> io::Result<Box<dyn Stream>> {
        let mut state = self.state.lock();
        if state.down {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        if let Some(other) = state.instead.clone() {
            drop(state);
            return other.connect();
        }
        let (ours, mut near) = duplex(64 << 10);
        let (mut far, theirs) = duplex(64 << 10);
        state.connected += 1;
        // What is between the two can be cut.
        state.connections.push(tokio::spawn(async move {
            let _ = copy_bidirectional(&mut near, &mut far).await;
        }));
        let (incoming, config) = (self.incoming.clone(), self.generation.control_plane_server(&[ALPN_H2]));
        tokio::spawn(async move {
            if let Ok(stream) = TlsAcceptor::from(config).accept(theirs).await {
                let _ = incoming.send(Ok(Served(stream)));
            }
        });
        Ok(Box::new(ours))
    }

    /// Breaks all connections; new ones lead to another control plane, with another authority.
    pub(super) fn replace(&self, other: &Self) {
        self.state.lock().instead = Some(other.clone());
        self.cut();
    }

    /// Breaks all connections, and refuses new ones until it is up again.
    pub(super) fn down(&self) {
        self.state.lock().down = true;
        self.cut();
    }

    pub(super) fn up(&self) {
        self.state.lock().down = false;
    }

    /// Breaks all connections.
    pub(super) fn cut(&self) {
        self.state.lock().connections.drain(..).for_each(|connection| connection.abort());
    }

    /// How many connections there ever were.
    pub(super) fn connected(&self) -> usize {
        self.state.lock().connected
    }

    /// Refuses to sign for callers with a token or with a certificate, or for neither.
    pub(super) fn refuse(&self, token: Option<Status>, certificate: Option<Status>) {
        self.state.lock().refuse = (token, certificate);
    }

    /// Tells of a revoked token with each certificate.
    pub(super) fn revoke(&self, token: &str) {
        self.state.lock().revoked.push(token.to_owned());
    }

    pub(super) fn refuse_registration(&self, status: Status) {
        self.state.lock().refuse_registration = Some(status);
    }

    /// By what callers proved who they were when it signed for them.
    pub(super) fn issued(&self) -> Vec<&'static str> {
        self.state.lock().issued.clone()
    }

    /// What was said on registration streams since it was last taken.
    pub(super) fn registration(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().registration)
    }

    /// Refuses reports from now on, after it has read them, or takes them again.
    pub(super) fn refuse_reports(&self, refuse: bool) {
        self.state.lock().refuse_reports = refuse;
    }

    pub(super) fn reports(&self) -> Vec<v1::TelemetryReport> {
        std::mem::take(&mut self.state.lock().reports)
    }

    /// What was refused since it was last taken.
    pub(super) fn nacks(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().nacks)
    }

    /// A resource is so from now on.
    pub(super) fn set<T: Resource>(&self, name: &str, resource: &T) {
        let encoded = Arc::new(EncodedResource::new(T::TYPE_URL, name, resource));
        self.state.lock().resources.insert((T::TYPE_URL.to_owned(), name.to_owned()), encoded);
        self.notifier.changed(T::TYPE_URL, [name]);
    }

    /// There is no such service port any more.
    pub(super) fn end_service(&self, service: &str) {
        let collection = format!("{service}/*");
        let mut state = self.state.lock();
        state.resources.retain(|(_, name), _| collection_of(name) != collection);
        state.collections.insert(collection.clone(), false);
        drop(state);
        self.notifier.changed(v1::Endpoint::TYPE_URL, [collection.as_str()]);
    }

    /// There is a service port with these endpoints.
    pub(super) fn serve(&self, service: &str, ids: &[&str]) {
        self.state.lock().collections.insert(format!("{service}/*"), true);
        for id in ids {
            let endpoint = v1::Endpoint { address: "10.0.0.2".into(), port: 80, ..v1::Endpoint::default() };
            self.set(&format!("{service}/{id}"), &endpoint);
        }
        self.notifier.changed(v1::Endpoint::TYPE_URL, [format!("{service}/*").as_str()]);
    }

    /// The bundle of the trust domain with another root in it.
    pub(super) fn bundle_with_another_root(&self) -> v1::TrustBundle {
        let roots = [&*self.authority, &authority()]
            .map(|authority| authority.bundle().roots(&trust_domain())[0].to_vec().into());
        v1::TrustBundle { trust_domain: trust_domain().to_string(), roots: roots.into(), revoked: Vec::new() }
    }
}

/// A connection that the server has accepted.
struct Served(TlsStream<DuplexStream>);

impl Connected for Served {
    type ConnectInfo = Option<String>;

    fn connect_info(&self) -> Option<String> {
        let chain = self.0.get_ref().1.peer_certificates()?;
        Some(peer_identity(chain).unwrap().to_string())
    }
}

impl AsyncRead for Served {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_read(cx, buf)
    }
}

impl AsyncWrite for Served {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().0).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().0).poll_shutdown(cx)
    }
}

#[tonic::async_trait]
impl v1::identity_server::Identity for Plane {
    async fn issue(&self, request: Request<v1::IssueRequest>) -> Result<Response<v1::IssueResponse>, Status> {
        let by_token = request.metadata().contains_key("authorization");
        let certified = request.extensions().get::<Option<String>>().cloned().flatten();
        let mut state = self.state.lock();
        let refused = if by_token { &state.refuse.0 } else { &state.refuse.1 };
        if let Some(status) = refused {
            return Err(status.clone());
        }
        if !by_token && certified.is_none() {
            return Err(Status::unauthenticated("neither token nor certificate"));
        }
        state.issued.push(match (by_token, certified.is_some()) {
            (true, false) => "token",
            (true, true) => "token by certificate",
            (false, _) => "certificate",
        });
        let revoked = state.revoked.iter().map(|id| v1::Revocation {
            what: Some(v1::revocation::What::Token(id.clone())),
            issued_before: None,
        });
        let identity = "spiffe://mesh.example/ns/shop/sa/web";
        let csr = request.into_inner().csr;
        let issued = self.authority.sign(&csr, &identity.parse().unwrap(), LIFE, SystemTime::now()).unwrap();
        Ok(Response::new(v1::IssueResponse {
            chain: issued.chain.iter().map(|der| der.to_vec().into()).collect(),
            roots: vec![self.authority.bundle().roots(&trust_domain())[0].to_vec().into()],
            spiffe_id: identity.to_owned(),
            revoked: revoked.collect(),
            ..v1::IssueResponse::default()
        }))
    }
}

type Registered = ReceiverStream<Result<v1::RegisterResponse, Status>>;

#[tonic::async_trait]
impl v1::registration_server::Registration for Plane {
    type RegisterStream = Registered;

    async fn register(
        &self,
        request: Request<Streaming<v1::RegisterRequest>>,
    ) -> Result<Response<Registered>, Status> {
        use v1::register_request::Message;
        if let Some(status) = self.state.lock().refuse_registration.clone() {
            return Err(status);
        }
        let (responses, queue) = mpsc::channel(4);
        let (plane, mut requests) = (self.clone(), request.into_inner());
        tokio::spawn(async move {
            while let Some(Ok(request)) = requests.next().await {
                let said = match request.message.unwrap() {
                    Message::Register(workload) => {
                        let response = v1::RegisterResponse {
                            workload_id: workload.workload_id.clone(),
                            grace_seconds: 10,
                        };
                        let _ = responses.send(Ok(response)).await;
                        let services = workload.services.iter();
                        let services: Vec<_> = services
                            .map(|it| {
                                format!("{}:{} {}:{}", it.service, it.port, it.address, it.address_port)
                            })
                            .collect();
                        format!(
                            "register {} {:?} {:?} {}",
                            workload.workload_id,
                            workload.labels,
                            services,
                            workload.health().as_str_name()
                        )
                    }
                    Message::Health(health) => v1::Health::try_from(health).unwrap().as_str_name().to_owned(),
                    Message::Withdraw(_) => "withdraw".to_owned(),
                };
                plane.state.lock().registration.push(said);
            }
            plane.state.lock().registration.push("end".to_owned());
        });
        Ok(Response::new(ReceiverStream::new(queue)))
    }
}

#[tonic::async_trait]
impl v1::telemetry_server::Telemetry for Plane {
    type WatchStream = ReceiverStream<Result<v1::MeshSummary, Status>>;

    async fn report(
        &self,
        request: Request<Streaming<v1::TelemetryReport>>,
    ) -> Result<Response<v1::ReportResponse>, Status> {
        let mut reports = request.into_inner();
        while let Some(report) = reports.message().await? {
            let mut state = self.state.lock();
            state.reports.push(report);
            if state.refuse_reports {
                return Err(Status::failed_precondition("it is not known"));
            }
        }
        Ok(Response::new(v1::ReportResponse {}))
    }

    async fn watch(&self, _: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        Err(Status::unimplemented("not here"))
    }
}

impl ResourceSource for Plane {
    fn resource(&self, _: &ClientContext, type_url: &str, name: &str) -> Lookup {
        let found = self.state.lock().resources.get(&(type_url.to_owned(), name.to_owned())).cloned();
        // A bundle is always there; tests that care bring theirs.
        match found {
            Some(found) => Lookup::Found(found),
            None if type_url == v1::TrustBundle::TYPE_URL => Lookup::Pending,
            None => Lookup::Absent,
        }
    }

    fn members(&self, _: &ClientContext, type_url: &str, collection: &str) -> Members {
        let state = self.state.lock();
        match state.collections.get(collection) {
            None => return Members::Pending,
            Some(false) => return Members::Absent,
            Some(true) => {}
        }
        let within = |(kind, name): &(String, String)| kind == type_url && collection_of(name) == collection;
        Members::Found(state.resources.iter().filter(|(key, _)| within(key)).map(|it| it.1.clone()).collect())
    }
}

impl Observer for Plane {
    fn refused(&self, _: &ClientContext, _: &str, _: &str, rejections: &[Rejection]) {
        let refused = rejections.iter().map(|it| format!("{}: {}", it.name, it.reason));
        self.state.lock().nacks.extend(refused);
    }
}
