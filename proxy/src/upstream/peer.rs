//! The connections of one worker to one endpoint.

use std::cell::RefCell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

use http::{Request, Response};
use tokio::time::Instant;
use weft_hop::{RequestMetadata, ResponseMetadata};
use weft_identity::tls::{ALPN_H2, ALPN_HTTP11, ALPN_WEFT, ALPN_WEFT_TCP};
use weft_identity::{ExpectedIdentities, peer_identity};
use weft_mesh::balance::{Endpoint, TunnelProtocol};
use weft_mesh::name::{Identity, ServicePort};
use weft_mesh::proxy_protocol::Version;
use weft_mesh::reason::Reason;

use super::circuit_breaker::CircuitBreaker;
use super::connect::{Connector, Stream};
use super::hop_pool::{HopPool, Limits};
use super::shared_attempt::SharedAttempt;
use crate::error::{BoxFailure, Failure};
use crate::hop::client::{as_older_peers_take_it, connect, open_failure};
use crate::hop::link::Link;
use crate::http::body::Body;
use crate::http::client::{Client, HttpVersion};
use crate::observe::stats::{Direction, Edge, EdgeKey, Retirement, Security, Stats};
use crate::snapshot::Tls;
use crate::transport::internal_listener::InternalListener;
use crate::transport::own_listeners::OwnListeners;

/// How often a request looks for another connection when the one it found takes no more streams.
const TRIES: usize = 3;

/// Routes to one endpoint whose counters are kept at hand.
const EDGES_KEPT: usize = 16;

/// The connections to one endpoint.
#[derive(Debug)]
pub struct Peer {
    endpoint: Endpoint,
    breaker: Rc<CircuitBreaker>,
    /// The way to the endpoint's proxy where that is this one.
    internal_listener: Option<InternalListener>,
    /// Where no connection leads.
    own: OwnListeners,
    links: HopPool,
    /// The connection of weft/1 that is being opened, with its certificate generation.
    opening: SharedAttempt<(u64, Rc<Link>)>,
    plain: Rc<Client>,
    /// Connections of HTTP/1 and of HTTP/2 over TLS, with the certificate generation that they are made under.
    standard: RefCell<[Option<OfGeneration>; 2]>,
    /// What the endpoint proved to be when it was last connected to.
    identity: RefCell<Option<Identity>>,
    edges: RefCell<Vec<KeptEdge>>,
}

/// Where the traffic of one route to this endpoint is counted.
#[derive(Debug)]
struct KeptEdge {
    destination: ServicePort,
    route: Option<Arc<str>>,
    mirrored: bool,
    security: Security,
    edge: Arc<Edge>,
}

/// What was sent to an endpoint, as far as it is counted apart.
#[derive(Debug, Clone, Copy)]
pub struct Sent<'a> {
    /// The service that was dialled.
    pub destination: &'a ServicePort,
    /// The service of the endpoint.
    pub backend: &'a ServicePort,
    /// The route that sent it here.
    pub route: Option<&'a Arc<str>>,
    /// Whether it is a copy.
    pub mirrored: bool,
}

/// Connections made under one certificate generation.
type OfGeneration = (u64, Rc<Client>);

/// An answer, with what the answering proxy said beside it.
pub type Answered = (Response<Body>, ResponseMetadata);

impl Peer {
    /// No connection yet. An endpoint of the own workload is reached through `door`, and the proxy's `own` listeners are
    /// never connected to.
    pub fn new(
        endpoint: Endpoint,
        breaker: Rc<CircuitBreaker>,
        internal_listener: Option<&InternalListener>,
        own: &OwnListeners,
    ) -> Self {
        let plain = Client::new(Connector::plain(endpoint.address, own).within(&breaker));
        Self {
            internal_listener: internal_listener.filter(|_| endpoint.own).cloned(),
            own: own.clone(),
            endpoint,
            breaker,
            links: HopPool::default(),
            opening: SharedAttempt::default(),
            plain,
            standard: RefCell::default(),
            identity: RefCell::default(),
            edges: RefCell::default(),
        }
    }

    /// The endpoint.
    pub fn endpoint(&self) -> &Endpoint {
        &self.endpoint
    }

    /// Sends one attempt of a request. A failure says whether the endpoint may have processed it.
    pub async fn send(
        self: &Rc<Self>,
        parts: &http::request::Parts,
        body: Body,
        metadata: &RequestMetadata,
        version: HttpVersion,
        tls: Option<&Arc<Tls>>,
    ) -> Result<Answered, BoxFailure> {
        match (self.endpoint.hop, tls) {
            (TunnelProtocol::Plain, _) => {
                let request = Box::new(Request::from_parts(parts.clone(), body));
                let response = Box::pin(self.plain.send(request, version)).await?;
                Ok((response, ResponseMetadata::default()))
            }
            (TunnelProtocol::Weft, Some(tls)) => self.send_weft(parts, body, metadata, tls).await,
            (TunnelProtocol::Standard, Some(tls)) => {
                let request = Box::new(Request::from_parts(parts.clone(), body));
                // The application's version is for the proxy beside it to find out.
                let version = match version {
                    HttpVersion::Http2 | HttpVersion::Either => HttpVersion::Http2,
                    HttpVersion::Http1 | HttpVersion::LikelyHttp1 => HttpVersion::Http1,
                };
                let client = self.standard(tls, version);
                let response = Box::pin(client.send(request, version)).await?;
                Ok((response, ResponseMetadata::default()))
            }
            (TunnelProtocol::Weft | TunnelProtocol::Standard, None) => Err(no_certificate()),
        }
    }

    async fn send_weft(
        self: &Rc<Self>,
        parts: &http::request::Parts,
        mut body: Body,
        metadata: &RequestMetadata,
        tls: &Arc<Tls>,
    ) -> Result<Answered, BoxFailure> {
        for _ in 1..TRIES {
            let link = self.link(tls).await?;
            let older = as_older_peers_take_it(&link, parts).await;
            match link.request(older.as_deref().unwrap_or(parts), body, metadata).await {
                Ok(answered) => return answered,
                Err(refused) => body = refused.body,
            }
        }
        let link = self.link(tls).await?;
        let older = as_older_peers_take_it(&link, parts).await;
        match link.request(older.as_deref().unwrap_or(parts), body, metadata).await {
            Ok(answered) => answered,
            Err(refused) => Err(open_failure(&refused.error)),
        }
    }

    async fn link(self: &Rc<Self>, tls: &Arc<Tls>) -> Result<Rc<Link>, BoxFailure> {
        match self.links.usable(tls.number) {
            Some(link) => Ok(link),
            // Rare and large: what every request carries along stays small.
            None => Box::pin(self.open_link(tls)).await,
        }
    }

    async fn open_link(self: &Rc<Self>, tls: &Arc<Tls>) -> Result<Rc<Link>, BoxFailure> {
        let mut opened: Option<Rc<Link>> = None;
        loop {
            if let Some(link) = self.links.usable(tls.number) {
                return Ok(link);
            }
            if let Some(link) = self.links.unsettled(tls.number) {
                // Until the peer has said how many streams it takes, few are assumed.
                link.settled().await;
                continue;
            }
            // Others have taken the streams of the connection that was opened, or it takes none.
            if let Some(link) = opened.filter(|link| link.open_streams() == 0) {
                return Ok(link);
            }
            let (own, own_tls) = (Rc::clone(self), Arc::clone(tls));
            let (generation, link) =
                self.opening.join(|| async move { own.connect_link(&own_tls).await }).await?;
            opened = (generation == tls.number).then_some(link);
        }
    }

    async fn connect_link(&self, tls: &Arc<Tls>) -> Result<(u64, Rc<Link>), BoxFailure> {
        let (stream, _) = self.connect_tls(tls, &[ALPN_WEFT]).await?;
        let link = connect(stream);
        self.links.add(&link, tls.number);
        Ok((tls.number, link))
    }

    fn standard(&self, tls: &Arc<Tls>, version: HttpVersion) -> Rc<Client> {
        let [http1, http2] = &mut *self.standard.borrow_mut();
        let (kept, alpn) = match version {
            HttpVersion::Http1 | HttpVersion::LikelyHttp1 => (http1, ALPN_HTTP11),
            HttpVersion::Http2 | HttpVersion::Either => (http2, ALPN_H2),
        };
        if let Some((generation, client)) = kept
            && *generation == tls.number
        {
            return Rc::clone(client);
        }
        let config = tls.client(self.expected(), &[alpn]);
        let client = Client::new(self.connector(config));
        *kept = Some((tls.number, Rc::clone(&client)));
        client
    }

    /// Opens a connection for opaque bytes of `source`, and gives the identity that the endpoint proved. Endpoints without
    /// a sidecar are told of `source` by the PROXY protocol in the version given.
    pub async fn connect_tcp(
        &self,
        tls: Option<&Arc<Tls>>,
        source: SocketAddr,
        announce: Option<Version>,
    ) -> Result<(Stream, Option<Identity>), BoxFailure> {
        match (self.endpoint.hop, tls) {
            (TunnelProtocol::Plain | TunnelProtocol::Standard, _) => {
                let mut connector = Connector::plain(self.endpoint.address, &self.own).within(&self.breaker);
                if let Some(version) = announce {
                    connector = connector.announcing(version, source);
                }
                let stream = connector.connect().await?;
                Ok((stream, None))
            }
            (TunnelProtocol::Weft, Some(tls)) => self.connect_tls(tls, &[ALPN_WEFT_TCP]).await,
            (TunnelProtocol::Weft, None) => Err(no_certificate()),
        }
    }

    async fn connect_tls(
        &self,
        tls: &Arc<Tls>,
        alpn: &[&[u8]],
    ) -> Result<(Stream, Option<Identity>), BoxFailure> {
        let config = tls.client(self.expected(), alpn);
        let stream = self.connector(config).connect().await?;
        if !stream.alpn().is_some_and(|chosen| alpn.contains(&chosen)) {
            let detail = format!("the proxy at {} does not speak {}", self.endpoint.address, offered(alpn));
            return Err(Failure::unprocessed(Reason::ConnectFailed, detail));
        }
        let identity = stream.peer_certificates().and_then(|chain| peer_identity(chain).ok());
        self.identity.borrow_mut().clone_from(&identity);
        Ok((stream, identity))
    }

    /// What its proxy proved to be when it was last connected to.
    pub fn identity(&self) -> Option<Identity> {
        self.identity.borrow().clone()
    }

    /// Where a request is counted that was sent here. Made once for each destination and route; after that, finding it
    /// compares names.
    pub fn edge(&self, stats: &Stats, sent: &Sent<'_>) -> Arc<Edge> {
        let mut edges = self.edges.borrow_mut();
        let kept = edges.iter().find(|kept| {
            kept.mirrored == sent.mirrored
                && kept.route.as_ref() == sent.route
                && kept.destination == *sent.destination
                && self.is_secured_by(&kept.security)
        });
        if let Some(kept) = kept {
            return Arc::clone(&kept.edge);
        }
        let security = self.security();
        let outside = EdgeKey::outside(Direction::Outbound);
        let edge = stats.edge(EdgeKey {
            mirrored: sent.mirrored,
            destination: Some(sent.destination.clone()),
            backend: Some(sent.backend.clone()),
            route: sent.route.cloned().unwrap_or_else(|| Arc::clone(&outside.route)),
            workload: Arc::clone(&self.endpoint.workload),
            version: Arc::clone(&self.endpoint.version),
            security: security.clone(),
            ..outside
        });
        if edges.len() >= EDGES_KEPT {
            edges.remove(0);
        }
        edges.push(KeptEdge {
            destination: sent.destination.clone(),
            route: sent.route.cloned(),
            mirrored: sent.mirrored,
            security,
            edge: Arc::clone(&edge),
        });
        edge
    }

    /// What protects the connections to the endpoint, as far as there has been one.
    pub fn security(&self) -> Security {
        match self.endpoint.hop {
            TunnelProtocol::Plain => Security::Plain,
            TunnelProtocol::Weft => {
                self.identity().map_or(Security::Unknown, |identity| Security::Mutual(Some(identity)))
            }
            // Which of several it proved is known to the connection alone.
            TunnelProtocol::Standard => Security::Mutual(self.sole_identity().cloned()),
        }
    }

    /// Whether that is `kept`, without taking hold of anything.
    fn is_secured_by(&self, kept: &Security) -> bool {
        match (self.endpoint.hop, kept) {
            (TunnelProtocol::Plain, kept) => *kept == Security::Plain,
            (TunnelProtocol::Weft, Security::Mutual(peer)) => *peer == *self.identity.borrow(),
            (TunnelProtocol::Weft, kept) => *kept == Security::Unknown && self.identity.borrow().is_none(),
            (TunnelProtocol::Standard, kept) => kept.peer() == self.sole_identity(),
        }
    }

    fn sole_identity(&self) -> Option<&Identity> {
        match &*self.endpoint.identities {
            [identity] => Some(identity),
            _ => None,
        }
    }

    fn connector(&self, config: Arc<rustls::ClientConfig>) -> Connector {
        let connector = Connector::tls(self.endpoint.address, config, &self.own).within(&self.breaker);
        match &self.internal_listener {
            Some(internal_listener) => connector.through(internal_listener),
            None => connector,
        }
    }

    fn expected(&self) -> ExpectedIdentities {
        ExpectedIdentities::exactly(self.endpoint.identities.iter().cloned())
    }

    /// Closes connections that have not been used for long, and takes those out of use that are old or were made under
    /// another certificate. To be called about every second.
    pub fn sweep(&self, now: Instant, limits: Limits, stats: &Stats) {
        self.plain.sweep(now, limits.idle, stats);
        for kept in &mut *self.standard.borrow_mut() {
            // What is under way on a client's connections goes on without the client.
            kept.take_if(|(own, client)| {
                let unused = !client.sweep(now, limits.idle, stats) && Rc::strong_count(client) == 1;
                if limits.is_current(*own) {
                    return unused;
                }
                for _ in 0..client.kept() {
                    stats.retired(Retirement::Certificate);
                }
                true
            });
        }
        self.links.sweep(now.into_std(), limits, self.breaker.max_age(), stats);
    }

    /// Takes no new requests on any connection; those under way finish.
    pub fn drain(&self, stats: &Stats) {
        self.links.drain(stats);
    }

    /// Whether a peer that was drained has nothing left that needs sweeping.
    pub fn is_drained(&self) -> bool {
        self.links.is_empty() && !self.opening.is_under_way()
    }
}

fn offered(alpn: &[&[u8]]) -> String {
    alpn.iter().map(|name| String::from_utf8_lossy(name)).collect::<Vec<_>>().join(", ")
}

fn no_certificate() -> BoxFailure {
    // Its own lack: no endpoint is to blame for it.
    Failure::internal(Reason::ConnectFailed, "this proxy has no certificate yet")
}
