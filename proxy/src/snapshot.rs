//! What the control plane said, as workers read it: immutable, compiled once, shared by all threads.
//!
//! Imports nothing of the path of a request; imported by everything that asks what is configured.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, SystemTime};

use weft_identity::{ExpectedIdentities, Generation};
use weft_mesh::affinity::KeySource;
use weft_mesh::authorization::{Action, Authorizer, Policy};
use weft_mesh::balance::{BalancePolicy, EndpointSet};
use weft_mesh::budget::BudgetPolicy;
use weft_mesh::concurrency::ConcurrencyPolicy;
use weft_mesh::filter::{Filters, GlobalLimit, LimitService, RateLimit};
use weft_mesh::hedge::HedgePolicy;
use weft_mesh::name::{Identity, ServicePort};
use weft_mesh::protocol::Protocol;
use weft_mesh::proxy_protocol::{self, Senders};
use weft_mesh::reason::Reason;
use weft_mesh::retry::RetryPolicy;
use weft_mesh::route::{ResourceRef, RouteTable, ServerNames, Target};
use weft_mesh::split::Split;

use crate::error::{BoxFailure, Failure};

pub mod convert;

/// A map with names that the control plane chose.
pub type NameMap<K, V> = HashMap<K, V, foldhash::fast::RandomState>;

/// All that workers know at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Which one it is: every snapshot that comes into force has a higher number than the ones before it.
    pub number: u64,
    /// What was dialled, by `host:port`; `None`: the mesh has none of that name.
    pub destinations: NameMap<Arc<str>, Option<Arc<Destination>>>,
    /// Each service port that something leads to, with the policy that was told last: destinations that lead to the same one
    /// are not all told at once.
    pub backends: NameMap<ServicePort, Arc<Backend>>,
    /// The endpoints of each service port that a destination leads to.
    pub endpoints: NameMap<ServicePort, Arc<EndpointSet>>,
    /// What the workload's own proxy lets in.
    pub inbound: Arc<Inbound>,
    /// The certificate in use and what goes with it; `None`: there is none yet.
    pub tls: Option<Arc<Tls>>,
}

/// What was dialled.
#[derive(Debug)]
pub struct Destination {
    /// The name, `host:port`.
    pub name: Arc<str>,
    /// The service and port that it stands for.
    pub service: ServicePort,
    /// What is spoken on it.
    pub protocol: Protocol,
    /// Routes for HTTP and gRPC; `None`: everything goes to `backend`.
    pub routes: Option<RouteTable<Arc<Backend>>>,
    /// Where connections go that are not HTTP; empty: to `backend`.
    pub tcp: Split<Target<Arc<Backend>>>,
    /// Where connections of TLS go; empty: as those that are not HTTP.
    pub tls: ServerNames<TlsRoute>,
    /// The service itself.
    pub backend: Arc<Backend>,
    /// When it was last used, in seconds since the proxy started.
    pub used: AtomicU64,
}

/// A TLSRoute.
#[derive(Debug)]
pub struct TlsRoute {
    /// The resource's name, under which its connections are counted.
    pub name: Arc<str>,
    /// Where its connections go.
    pub backends: Split<Target<Arc<Backend>>>,
}

impl Destination {
    /// Every service port that requests and connections to it may go to, each once.
    pub fn backends(&self) -> Vec<Arc<Backend>> {
        fn beside(filters: &Filters<Arc<Backend>>) -> impl Iterator<Item = &Arc<Backend>> {
            let mirrored = filters.mirrors.iter().map(|mirror| &mirror.backend);
            mirrored.chain(filters.global_limit.as_ref().and_then(asked))
        }
        fn valid(target: &Target<Arc<Backend>>) -> Option<&Arc<Backend>> {
            match target {
                Target::Valid(backend) => Some(backend),
                Target::Invalid(_) => None,
            }
        }
        let rules = self.routes.iter().flat_map(RouteTable::rules).flat_map(|(_, rule)| {
            let backends = rule.backends.iter().map(|(_, backend)| backend);
            let of_backend = |backend: &'_ weft_mesh::route::Backend<Arc<Backend>>| {
                valid(&backend.target)
                    .into_iter()
                    .chain(beside(&backend.filters))
                    .cloned()
                    .collect::<Vec<_>>()
            };
            beside(&rule.filters).cloned().chain(backends.flat_map(of_backend))
        });
        let tcp = self.tcp.iter().filter_map(|(_, target)| valid(target)).cloned();
        let tls = self.tls.iter().flat_map(|route| route.backends.iter());
        let tls = tls.filter_map(|(_, target)| valid(target)).cloned();
        let all = std::iter::once(Arc::clone(&self.backend)).chain(rules).chain(tcp).chain(tls);
        let by_service: BTreeMap<ServicePort, Arc<Backend>> =
            all.map(|backend| (backend.service.clone(), backend)).collect();
        by_service.into_values().collect()
    }

    /// Where a connection goes that is not HTTP.
    pub fn tcp_backend(&self, random: u64) -> Result<&Arc<Backend>, BoxFailure> {
        if self.tcp.is_empty() {
            return Ok(&self.backend);
        }
        self.share(&self.tcp, random)
    }

    /// Where a connection of TLS goes, and by which route, that asks for this server.
    pub fn tls_backend(
        &self,
        server_name: Option<&str>,
        random: u64,
    ) -> Result<(&Arc<Backend>, &Arc<str>), BoxFailure> {
        let Some(route) = self.tls.find(server_name) else {
            let name = server_name.unwrap_or("no name");
            let detail = format!("no TLSRoute of {} takes connections that ask for {name}", self.service);
            return Err(Failure::control(Reason::NoRoute, detail));
        };
        Ok((self.share(&route.backends, random)?, &route.name))
    }

    fn share<'a>(
        &self,
        split: &'a Split<Target<Arc<Backend>>>,
        random: u64,
    ) -> Result<&'a Arc<Backend>, BoxFailure> {
        match split.choose(random) {
            Some(Target::Valid(backend)) => Ok(backend),
            Some(Target::Invalid(problem)) => {
                Err(Failure::control(Reason::InvalidBackend, problem.to_string()))
            }
            None => Err(Failure::control(
                Reason::InvalidBackend,
                format!("the route of {} has no backend", self.service),
            )),
        }
    }
}

/// A service as a place to send to.
#[derive(Debug)]
pub struct Backend {
    /// The service and port.
    pub service: ServicePort,
    /// What its application speaks.
    pub protocol: Protocol,
    /// How to balance over it and protect it.
    pub policy: BackendPolicy,
}

/// How to balance over a service and protect it.
#[derive(Debug, Clone)]
pub struct BackendPolicy {
    /// Choice and ejection of endpoints.
    pub balance: BalancePolicy,
    /// What consistent hashing hashes.
    pub hash_key: Option<KeySource>,
    /// Most connections from this proxy; 0: no limit.
    pub max_connections: u32,
    /// Most requests waiting for a connection; 0: no limit.
    pub max_pending: u32,
    /// Most requests in flight; 0: no limit.
    pub max_requests: u32,
    /// Budget of retries.
    pub budget: BudgetPolicy,
    /// When to retry what reached an endpoint, where the route does not say.
    pub retry: Option<RetryPolicy>,
    /// When to send a request to another endpoint as well.
    pub hedging: Option<HedgePolicy>,
    /// Time for a TCP connection.
    pub connect_timeout: Duration,
    /// Time after which an unused connection is closed.
    pub idle_timeout: Duration,
    /// Age, give or take a tenth, at which a connection takes no new requests; `None`: it may grow as old as it likes.
    pub max_connection_age: Option<Duration>,
    /// The header of the PROXY protocol that opaque connections to endpoints without a sidecar begin with.
    pub announce: Option<proxy_protocol::Version>,
    /// Time after which a request on which nothing moves is given up; zero: never, `None`: as the proxy is set.
    pub stream_idle: Option<Duration>,
}

impl Default for BackendPolicy {
    fn default() -> Self {
        Self {
            balance: BalancePolicy::default(),
            hash_key: None,
            max_connections: 1024,
            max_pending: 1024,
            max_requests: 0,
            budget: BudgetPolicy::default(),
            retry: None,
            hedging: None,
            connect_timeout: Duration::from_secs(1),
            idle_timeout: Duration::from_mins(1),
            max_connection_age: None,
            announce: None,
            stream_idle: None,
        }
    }
}

/// What the workload's own proxy lets in.
#[derive(Debug)]
pub struct Inbound {
    /// Ports that something is said of.
    pub ports: NameMap<u16, Arc<InboundPort>>,
    /// The others.
    pub default_port: Arc<InboundPort>,
    /// Why a port lets nobody in of which more is said than this proxy can read.
    pub unreadable: Option<String>,
}

impl Inbound {
    /// What holds for a port.
    pub fn port(&self, port: u16) -> &Arc<InboundPort> {
        self.ports.get(&port).unwrap_or(&self.default_port)
    }

    /// Every service port that is asked before requests are let in, each once.
    pub fn backends(&self) -> Vec<Arc<Backend>> {
        let ports = self.ports.values().chain(std::iter::once(&self.default_port));
        let asked = ports.filter_map(|port| port.global_limit.as_ref().and_then(asked));
        let by_service: BTreeMap<ServicePort, Arc<Backend>> =
            asked.map(|backend| (backend.service.clone(), Arc::clone(backend))).collect();
        by_service.into_values().collect()
    }
}

impl Default for Inbound {
    /// Lets nobody in: what holds before the control plane has said who may.
    fn default() -> Self {
        let closed = InboundPort {
            tls_mode: TlsMode::Strict,
            authorization: Authorizer::new([], true),
            ..InboundPort::default()
        };
        Self { ports: NameMap::default(), default_port: Arc::new(closed), unreadable: None }
    }
}

/// The service of the mesh that keeps a limit.
fn asked(limit: &GlobalLimit<Arc<Backend>>) -> Option<&Arc<Backend>> {
    match &limit.service {
        LimitService::Backend(backend) => Some(backend),
        LimitService::Address(_) | LimitService::Invalid(_) => None,
    }
}

/// Which connections a port lets in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TlsMode {
    /// Mesh TLS and plain text.
    #[default]
    Permissive,
    /// Mesh TLS only.
    Strict,
    /// Mesh TLS is not terminated.
    Disabled,
}

/// One port of the workload.
#[derive(Debug)]
pub struct InboundPort {
    /// What the application speaks.
    pub protocol: Protocol,
    /// Which connections are let in.
    pub tls_mode: TlsMode,
    /// Who may call.
    pub authorization: Authorizer,
    /// How many requests are let in.
    pub rate_limit: Option<RateLimit>,
    /// How many requests a service lets in that keeps the limit for all proxies.
    pub global_limit: Option<GlobalLimit<Arc<Backend>>>,
    /// Bounds of a limit on requests in flight that adapts to the application's latency.
    pub concurrency: Option<ConcurrencyPolicy>,
    /// Whose connections begin with a header of the PROXY protocol.
    pub announced_by: Senders,
    /// The header of the PROXY protocol that connections to the application begin with.
    pub announce: Option<proxy_protocol::Version>,
}

impl InboundPort {
    /// A port that lets nobody in, and why.
    pub fn closed(problem: &str) -> Self {
        let id = ResourceRef::new("Inbound", "this", "workload");
        Self {
            tls_mode: TlsMode::Strict,
            authorization: Authorizer::new([Policy::not_understood(id, Action::Deny, problem)], true),
            ..Self::default()
        }
    }
}

impl Default for InboundPort {
    fn default() -> Self {
        Self {
            protocol: Protocol::Detect,
            tls_mode: TlsMode::Permissive,
            authorization: Authorizer::new([], false),
            rate_limit: None,
            global_limit: None,
            concurrency: None,
            announced_by: Senders::default(),
            announce: None,
        }
    }
}

/// A certificate and the configurations made of it.
#[derive(Debug)]
pub struct Tls {
    /// Increases with each change of the certificate or the roots.
    pub number: u64,
    /// For inbound connections.
    pub server: Arc<rustls::ServerConfig>,
    /// Serial number of the certificate, hexadecimal.
    pub serial: String,
    generation: Generation,
}

impl Tls {
    /// The configurations of one generation.
    pub fn new(number: u64, generation: Generation, serial: String, alpn: &[&[u8]]) -> Self {
        Self { number, server: generation.mesh_server(alpn), serial, generation }
    }

    /// The workload's own identity.
    pub fn identity(&self) -> &Identity {
        self.generation.identity()
    }

    /// The certificate and the roots in use.
    pub fn generation(&self) -> &Generation {
        &self.generation
    }

    /// End of the certificate's validity.
    pub fn not_after(&self) -> SystemTime {
        self.generation.certificate().not_after()
    }

    /// For a connection to a peer that must be one of `expected`.
    pub fn client(&self, expected: ExpectedIdentities, alpn: &[&[u8]]) -> Arc<rustls::ClientConfig> {
        self.generation.client(expected, alpn)
    }
}
