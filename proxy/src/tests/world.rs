//! What the tests are made of.

use std::cell::{Cell, RefCell};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio::sync::mpsc;
use tokio::task::LocalSet;
use tokio_util::sync::CancellationToken;
use weft_identity::tls::{ALPN_H2, ALPN_HTTP11, ALPN_WEFT, ALPN_WEFT_TCP};
use weft_identity::{CaMaterial, CertificateAuthority, Generation, KeyAndCsr, TrustBundle};
use weft_mesh::balance::{EndpointSet, Locality};
use weft_mesh::protocol::Protocol;
use weft_proto::v1;

use super::network;
use crate::error::BoxFailure;
use crate::http::body::Body;
use crate::http::client::{Client, HttpVersion};
use crate::http::server::{ServerVersion, serve};
use crate::http::violation_recorder::ViolationRecorder;
use crate::inbound::{self, Arrival};
use crate::observe::stats::{EdgeKey, Totals};
use crate::outbound::{self, Downstream, Target, first_bytes};
use crate::runtime::shared::{Lookup, Shared};
use crate::runtime::worker::Worker;
use crate::snapshot::{Snapshot, Tls, convert};
use crate::transport::own_listeners::OwnListeners;
use crate::transport::unproven::Standing;
use crate::upstream::connect::Connector;
use crate::upstream::local::Local;

/// Runs a test on one thread.
pub(super) async fn local<F: Future>(test: F) -> F::Output {
    LocalSet::new().run_until(test).await
}

/// An address of the test's network.
pub(super) fn at(host: u8, port: u16) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, host], port))
}

/// The clients' outbound listener.
pub(super) fn outbound() -> SocketAddr {
    at(1, 15_001)
}

/// Where the sidecar of endpoint `host` takes connections.
pub(super) fn inbound(host: u8) -> SocketAddr {
    at(host, 15_006)
}

/// Where the application of endpoint `host` listens.
pub(super) fn application_at(host: u8) -> SocketAddr {
    at(host, 9080)
}

const ALPN: [&[u8]; 4] = [ALPN_WEFT, ALPN_WEFT_TCP, ALPN_H2, ALPN_HTTP11];

/// Who signs in the tests' mesh.
pub(super) struct Authority(CertificateAuthority);

impl Authority {
    pub(super) fn new(trust_domain: &str) -> Self {
        let (trust_domain, now) = (trust_domain.parse().unwrap(), SystemTime::now());
        let material = CaMaterial::generate(&trust_domain, now).unwrap();
        Self(CertificateAuthority::from_pem(&material, "", &trust_domain, now).unwrap())
    }

    /// Whom it makes everybody believe.
    pub(super) fn bundle(&self) -> &TrustBundle {
        self.0.bundle()
    }

    /// A certificate of its own, together with other roots.
    pub(super) fn tls_believing(&self, number: u64, service_account: &str, bundle: &TrustBundle) -> Arc<Tls> {
        let own = self.issue(service_account, Duration::from_hours(1), SystemTime::now());
        let generation = Generation::new(own.certificate().clone(), Arc::new(bundle.clone()));
        Arc::new(Tls::new(number, generation, number.to_string(), &ALPN))
    }

    pub(super) fn issue(&self, service_account: &str, ttl: Duration, now: SystemTime) -> Generation {
        let identity = identity_in(self.0.trust_domain().as_str(), service_account).parse().unwrap();
        let key = KeyAndCsr::generate().unwrap();
        let issued = self.0.sign(key.csr_der(), &identity, ttl, now).unwrap();
        let certificate = key.into_certificate(issued.chain).unwrap();
        Generation::new(certificate, Arc::new(self.0.bundle().clone()))
    }

    pub(super) fn tls(&self, number: u64, service_account: &str) -> Arc<Tls> {
        self.tls_believing(number, service_account, self.bundle())
    }
}

pub(super) fn identity_in(trust_domain: &str, service_account: &str) -> String {
    format!("spiffe://{trust_domain}/ns/shop/sa/{service_account}")
}

pub(super) fn identity(service_account: &str) -> String {
    identity_in("mesh.test", service_account)
}

/// A mesh with one client, `web`, whose sidecar knows the destination `reviews:9080`.
pub(super) struct Mesh {
    pub(super) authority: Authority,
    /// The client's sidecar.
    pub(super) worker: Rc<Worker>,
    numbers: Cell<u64>,
    lookups: Cell<Option<mpsc::Receiver<Lookup>>>,
}

impl Mesh {
    /// A mesh in which `destination` leads to these endpoints.
    pub(super) fn new(destination: &v1::Destination, endpoints: &[v1::Endpoint]) -> Self {
        Self::located(Locality::default(), destination, endpoints)
    }

    /// The same, with the client somewhere.
    pub(super) fn located(
        locality: Locality,
        destination: &v1::Destination,
        endpoints: &[v1::Endpoint],
    ) -> Self {
        let (shared, lookups) = Shared::new(1, locality);
        let worker = Worker::new(shared, vec![outbound()]);
        let mesh = Self {
            authority: Authority::new("mesh.test"),
            worker,
            numbers: Cell::new(0),
            lookups: Cell::new(Some(lookups)),
        };
        mesh.configure(destination, endpoints);
        mesh.rotate();
        let listening = Rc::clone(&mesh.worker);
        network::listen(outbound(), move |stream| {
            let downstream = Rc::new(Downstream::new(Target::ByAuthority, at(1, 40_000)));
            outbound::connection(Rc::clone(&listening), stream, downstream, Protocol::Http1)
        });
        mesh
    }

    /// A mesh in which requests to `reviews:9080` go to sidecars at the hosts given, in front of applications.
    pub(super) fn with_sidecars(hosts: &[u8]) -> Self {
        let endpoints: Vec<_> = hosts.iter().map(|host| endpoint(*host, v1::Hop::Weft)).collect();
        let mesh = Self::new(&destination(), &endpoints);
        for host in hosts {
            mesh.sidecar(*host, &v1::Inbound::default());
        }
        mesh
    }

    /// Puts another snapshot in force.
    pub(super) fn change(&self, change: impl FnOnce(&mut Snapshot)) {
        put_in_force(&self.worker, &self.numbers, change);
    }

    pub(super) fn configure(&self, destination: &v1::Destination, endpoints: &[v1::Endpoint]) {
        let compiled = Arc::new(convert::destination("reviews:9080", destination).unwrap());
        self.change(|snapshot| {
            for backend in compiled.backends() {
                let service = backend.service.clone();
                let of_service = endpoints.iter().filter(|endpoint| {
                    endpoint.service.as_ref().is_some_and(|named| named.name == service.service.name())
                });
                let converted = of_service
                    .map(|endpoint| Arc::new(convert::endpoint(&endpoint.workload, endpoint).unwrap()));
                let set = Arc::new(EndpointSet::new(converted));
                snapshot.endpoints.insert(service, set);
            }
            for backend in compiled.backends() {
                snapshot.backends.insert(backend.service.clone(), backend);
            }
            snapshot.destinations.insert("reviews:9080".into(), Some(compiled));
        });
    }

    /// Gives the client another certificate.
    pub(super) fn rotate(&self) {
        let tls = self.authority.tls(self.numbers.get() + 1, "web");
        self.change(|snapshot| snapshot.tls = Some(tls));
    }

    /// Answers what the client's sidecar asks for: there is no such name.
    pub(super) fn answer_lookups(&self) {
        let Some(mut lookups) = self.lookups.take() else { return };
        let worker = Rc::clone(&self.worker);
        tokio::task::spawn_local(async move {
            while let Some(lookup) = lookups.recv().await {
                let mut next = (*worker.snapshot()).clone();
                next.number += 1_000_000;
                next.destinations.insert(lookup.name.into(), None);
                worker.shared.snapshot.store(Arc::new(next));
                let _ = lookup.answered.send(());
            }
        });
    }

    /// Asks nobody about what the client's sidecar asks for, as where there are too many names already.
    pub(super) fn refuse_lookups(&self) {
        let Some(mut lookups) = self.lookups.take() else { return };
        tokio::task::spawn_local(async move { while lookups.recv().await.is_some() {} });
    }

    /// A sidecar of `reviews` on a host, in front of the application there.
    pub(super) fn sidecar(&self, host: u8, inbound: &v1::Inbound) -> Rc<Worker> {
        let (shared, _) = Shared::new(1, Locality::default());
        let worker = Worker::new(shared, Vec::new());
        let tls = self.authority.tls(1, "reviews");
        let inbound = convert::inbound(inbound, &"mesh.test".parse().unwrap()).unwrap();
        put_in_force(&worker, &Cell::new(0), |snapshot| {
            snapshot.tls = Some(tls);
            snapshot.inbound = Arc::new(inbound);
        });
        let arrival = Arrival {
            service: "reviews".into(),
            port: 9080,
            application: Local::exactly(application_at(host)),
            protocol: None,
        };
        let listening = inbound_of(&worker);
        network::listen(self::inbound(host), move |stream| {
            let standing = Standing::default();
            inbound::connection::serve(
                Rc::clone(&listening),
                stream,
                at(1, 41_000),
                arrival.clone(),
                standing,
            )
        });
        worker
    }

    /// What the client's sidecar counted, all edges together.
    pub(super) fn totals(&self) -> Totals {
        totals(&self.worker)
    }
}

thread_local! {
    /// The inbound sides of the test's sidecars.
    static INBOUND: RefCell<Vec<Rc<inbound::Context>>> = const { RefCell::new(Vec::new()) };
}

/// The inbound side of a sidecar, which is swept with it.
pub(super) fn inbound_of(worker: &Rc<Worker>) -> Rc<inbound::Context> {
    let context = inbound::Context::new(Rc::clone(worker));
    INBOUND.with_borrow_mut(|all| all.push(Rc::clone(&context)));
    context
}

/// Closes what is idle or out of use, on either side.
pub(super) fn sweep_once(worker: &Rc<Worker>, now: tokio::time::Instant) {
    worker.sweep(now);
    let own = |context: &&Rc<inbound::Context>| Rc::ptr_eq(&context.worker, worker);
    INBOUND.with_borrow(|all| all.iter().filter(own).for_each(|context| context.sweep(now)));
}

/// Lets a sidecar look after its connections, as it does when it runs.
pub(super) fn sweep(worker: &Rc<Worker>) {
    let worker = Rc::clone(worker);
    tokio::task::spawn_local(async move {
        let mut ticks = tokio::time::interval(Duration::from_secs(1));
        loop {
            let now = ticks.tick().await;
            sweep_once(&worker, now);
        }
    });
}

/// What a sidecar counted, all edges together but for those of copies.
pub(super) fn totals(worker: &Worker) -> Totals {
    summed(worker, |key| !key.mirrored)
}

/// What a sidecar counted at some edges.
pub(super) fn summed(worker: &Worker, of: impl Fn(&EdgeKey) -> bool) -> Totals {
    let edges = worker.shared.stats.edges().into_iter().filter(|(key, _)| of(key));
    edges.fold(Totals::default(), |mut sum, (_, totals)| {
        sum.add(&totals);
        sum
    })
}

/// Gives a sidecar another certificate, or other roots.
pub(super) fn put_tls(worker: &Worker, tls: Arc<Tls>) {
    put_in_force(worker, &Cell::new(0), |snapshot| snapshot.tls = Some(tls));
}

/// Gives a sidecar other policies.
pub(super) fn put_inbound(worker: &Worker, inbound: &v1::Inbound) {
    let inbound = convert::inbound(inbound, &"mesh.test".parse().unwrap()).unwrap();
    put_in_force(worker, &Cell::new(0), |snapshot| snapshot.inbound = Arc::new(inbound));
}

fn put_in_force(worker: &Worker, numbers: &Cell<u64>, change: impl FnOnce(&mut Snapshot)) {
    let mut snapshot = (*worker.snapshot()).clone();
    numbers.set(numbers.get() + 1);
    snapshot.number = numbers.get().max(snapshot.number + 1);
    change(&mut snapshot);
    worker.shared.snapshot.store(Arc::new(snapshot));
}

pub(super) fn service(name: &str) -> v1::ServicePort {
    v1::ServicePort { namespace: "shop".into(), name: name.into(), port: 9080 }
}

pub(super) fn backend(name: &str) -> v1::Backend {
    v1::Backend { service: Some(service(name)), ..v1::Backend::default() }
}

/// `reviews:9080` without any route.
pub(super) fn destination() -> v1::Destination {
    v1::Destination {
        service: Some(service("reviews")),
        backend: Some(backend("reviews")),
        ..v1::Destination::default()
    }
}

/// `reviews:9080` without any route, balanced and protected by a policy.
pub(super) fn protected(policy: v1::BackendPolicy) -> v1::Destination {
    let backend = v1::Backend { policy: Some(policy), ..backend("reviews") };
    v1::Destination { backend: Some(backend), ..destination() }
}

/// `reviews:9080` with one rule for all requests, to endpoints that a policy protects.
pub(super) fn routed_and_protected(rule: v1::HttpRule, policy: v1::BackendPolicy) -> v1::Destination {
    let protected = v1::Backend { policy: Some(policy), ..backend("reviews") };
    let target = Some(v1::weighted_backend::Target::Backend(protected));
    let backends = vec![v1::WeightedBackend { weight: 1, target, filters: Vec::new() }];
    routed(v1::HttpRule { backends, ..rule })
}

/// So many milliseconds.
pub(super) fn millis(millis: u32) -> prost_types::Duration {
    let nanos = i32::try_from(millis % 1000 * 1_000_000).unwrap();
    prost_types::Duration { seconds: (millis / 1000).into(), nanos }
}

/// `reviews:9080` with one rule for all requests.
pub(super) fn routed(rule: v1::HttpRule) -> v1::Destination {
    let rule = if rule.backends.is_empty() {
        v1::HttpRule { backends: vec![weighted("reviews", 1)], ..rule }
    } else {
        rule
    };
    v1::Destination {
        http_routes: vec![v1::HttpRoute {
            resource: Some(v1::ResourceRef {
                kind: "HTTPRoute".into(),
                namespace: "shop".into(),
                name: "route".into(),
            }),
            rules: vec![rule],
            ..v1::HttpRoute::default()
        }],
        ..destination()
    }
}

pub(super) fn weighted(name: &str, weight: u32) -> v1::WeightedBackend {
    let target = v1::weighted_backend::Target::Backend(backend(name));
    v1::WeightedBackend { weight, target: Some(target), filters: Vec::new() }
}

/// An endpoint of `reviews`, reached at its sidecar, or in plain text at its application.
pub(super) fn endpoint(host: u8, hop: v1::Hop) -> v1::Endpoint {
    endpoint_of("reviews", host, hop)
}

pub(super) fn endpoint_of(name: &str, host: u8, hop: v1::Hop) -> v1::Endpoint {
    let meshed = hop != v1::Hop::Plain;
    let address = if meshed { inbound(host) } else { application_at(host) };
    v1::Endpoint {
        service: Some(service(name)),
        address: address.ip().to_string(),
        port: address.port().into(),
        identities: if meshed { vec![identity("reviews")] } else { vec![] },
        hop: hop.into(),
        workload: format!("{name}-{host}"),
        ..v1::Endpoint::default()
    }
}

/// An application on a host that answers HTTP/1 and HTTP/2.
pub(super) fn application<F>(host: u8, handler: impl Fn(Request<Incoming>) -> F + Clone + 'static)
where
    F: Future<Output = Response<Body>> + 'static,
{
    network::listen(application_at(host), move |stream| {
        let handler = handler.clone();
        async move {
            let Ok((version, stream)) = first_bytes(stream).await else { return };
            let version = version.unwrap_or(ServerVersion::Http1);
            serve(stream, version, CancellationToken::new(), ViolationRecorder::default(), handler, drop)
                .await;
        }
    });
}

/// An application that says who it is and returns the request's body.
pub(super) fn echo(host: u8) {
    application(host, move |request| async move {
        let answer = Response::builder().header("x-host", host.to_string());
        let answer = match request.headers().get("x-forwarded-client-cert") {
            Some(client) => answer.header("x-client", client),
            None => answer,
        };
        answer.body(Body::from(request.into_body())).unwrap()
    });
}

/// The client's application.
pub(super) struct Caller(Rc<Client>);

impl Caller {
    pub(super) fn new() -> Self {
        Self(Client::new(Connector::plain(outbound(), &OwnListeners::default())))
    }

    pub(super) async fn send(&self, request: Request<Body>) -> Result<Response<Body>, BoxFailure> {
        self.0.send(Box::new(request), HttpVersion::Http1).await
    }

    pub(super) async fn send_http2(&self, request: Request<Body>) -> Result<Response<Body>, BoxFailure> {
        self.0.send(Box::new(request), HttpVersion::Http2).await
    }

    /// Sends a request without a body.
    pub(super) async fn get(&self, path: &str) -> Response<Bytes> {
        whole(self.send(request("GET", path, Body::Empty)).await.unwrap()).await
    }
}

/// A request for `reviews:9080`.
pub(super) fn request(method: &str, path: &str, body: Body) -> Request<Body> {
    Request::builder().method(method).uri(path).header("host", "reviews:9080").body(body).unwrap()
}

/// A response with all of its body.
pub(super) async fn whole(response: Response<Body>) -> Response<Bytes> {
    let (head, body) = response.into_parts();
    Response::from_parts(head, body.collect().await.unwrap().to_bytes())
}

/// Requests of the client that its sidecar counted as successful.
pub(super) fn succeeded(mesh: &Mesh) -> u64 {
    let totals = mesh.totals();
    totals.requests() - totals.failures
}

/// Size of the future that a function with these arguments returns.
pub(super) fn future_of<A, B, C, R>(_: impl Fn(A, B, C) -> R) -> usize {
    std::mem::size_of::<R>()
}
pub(super) fn future_of4<A, B, C, D, R>(_: impl Fn(A, B, C, D) -> R) -> usize {
    std::mem::size_of::<R>()
}
