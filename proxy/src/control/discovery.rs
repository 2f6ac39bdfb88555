//! Following what the control plane tells, and putting it in force.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::mpsc;
use tokio::time::Instant;
use weft_mesh::backoff::{Backoff, Jitter};
use weft_mesh::name::{ServicePort, TrustDomain};
use weft_proto::{Resource, v1};
use weft_xds::Rejection;
use weft_xds::client::{Builder, Changes, Config, Connection, Handler, Subscriptions};

use super::credentials::Credentials;
use super::model::{Asked, Model, Wish};
use super::revoked::revoked;
use super::transport::Transport;
use crate::runtime::shared::{Lookup, Shared};
use crate::runtime::status::Status;
use crate::snapshot::convert;

/// Time between attempts. The registration comes back as fast, so that waiting for longer would spare the control plane
/// nothing.
const BACKOFF: Backoff =
    Backoff { first: Duration::from_millis(200), longest: Duration::from_secs(5), jitter: Jitter::Full };
/// How often what nobody uses is looked for.
const SWEEP_EVERY: Duration = Duration::from_mins(1);

/// Questions that are answered together.
const TOGETHER: usize = 64;

/// What was told, and where it goes. Cheap to clone.
#[derive(Debug, Clone)]
pub(super) struct Discovery(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    model: Mutex<Model>,
    shared: Arc<Shared>,
    status: Arc<Status>,
    credentials: Arc<Credentials>,
    subscribing: Mutex<Option<Subscribing>>,
}

/// Where wishes go once there is a client.
#[derive(Debug)]
struct Subscribing {
    destinations: Subscriptions,
    endpoints: Subscriptions,
}

impl Discovery {
    /// Follows the names in `pins` for good, and others as they are asked for, `names_max` at most.
    pub(super) fn new<'a>(
        shared: &Arc<Shared>,
        status: &Arc<Status>,
        credentials: &Arc<Credentials>,
        names_max: usize,
        pins: impl Iterator<Item = &'a str>,
    ) -> Self {
        let (mut model, now) = (Model::new(names_max), Instant::now().into_std());
        for name in pins {
            model.pin(name, now);
        }
        Self(Arc::new(Inner {
            model: Mutex::new(model),
            shared: Arc::clone(shared),
            status: Arc::clone(status),
            credentials: Arc::clone(credentials),
            subscribing: Mutex::new(None),
        }))
    }

    /// Answers questions of workers, and forgets what nobody uses. Never returns.
    pub(super) fn answer(&self, mut lookups: mpsc::Receiver<Lookup>) -> impl Future<Output = ()> + use<> {
        let discovery = self.clone();
        async move {
            let mut sweeps = tokio::time::interval(SWEEP_EVERY);
            let mut asked = Vec::with_capacity(TOGETHER);
            loop {
                tokio::select! {
                    count = lookups.recv_many(&mut asked, TOGETHER) => {
                        if count == 0 {
                            return;
                        }
                        discovery.update(|model, now| {
                            for Lookup { name, answered } in asked.drain(..) {
                                if model.look_up(&name, answered, now) == Asked::Full {
                                    tracing::debug!(name, "too many destinations are asked for; this one is not");
                                }
                            }
                        });
                    }
                    _ = sweeps.tick() => discovery.update(Model::sweep),
                }
            }
        }
    }

    /// Follows discovery from the first certificate on. Never returns.
    /// `redirected` says that what arrives at the workload's own address comes to the proxy only from elsewhere.
    pub(super) fn run(
        &self,
        transport: Arc<Transport>,
        workload: String,
        redirected: bool,
    ) -> impl Future<Output = ()> + use<> {
        let discovery = self.clone();
        let own = redirected.then(|| Arc::from(&*workload));
        async move {
            let mut tls = discovery.0.credentials.watch();
            let Ok(first) = tls.wait_for(Option::is_some).await.map(|tls| tls.clone()) else { return };
            let Some(first) = first else { return };
            let trust_domain = first.identity().trust_domain();
            discovery.update(|model, _| model.set_tls(first));
            let mut builder = Builder::new(Config { backoff: BACKOFF, ..Config::new(workload.clone()) });
            let destinations = builder
                .handle::<v1::Destination, _>(v1::Destination::TYPE_URL, Destinations(discovery.clone()));
            let endpoints =
                builder.handle::<v1::Endpoint, _>(v1::Endpoint::TYPE_URL, Endpoints(discovery.clone(), own));
            let inbound = Inbounds(discovery.clone(), trust_domain.clone());
            builder.handle::<v1::Inbound, _>(v1::Inbound::TYPE_URL, inbound).subscribe(&workload);
            let bundles = Bundles(discovery.clone());
            let bundles = builder.handle::<v1::TrustBundle, _>(v1::TrustBundle::TYPE_URL, bundles);
            bundles.subscribe(trust_domain.as_str());
            discovery.0.model.lock().begin();
            *discovery.0.subscribing.lock() = Some(Subscribing { destinations, endpoints });
            discovery.subscribe();
            // The connection of the stream before.
            let left = Arc::new(Mutex::new(None));
            let client = builder.build(move || {
                let (transport, left) = (Arc::clone(&transport), Arc::clone(&left));
                async move {
                    let before = *left.lock();
                    let (channel, id) = transport.connect_other_than(before).await?;
                    *left.lock() = Some(id);
                    Ok::<_, super::error::Error>(channel)
                }
            });
            discovery.0.status.discovery(client.connection());
            let renewed = async {
                while tls.changed().await.is_ok() {
                    let Some(current) = tls.borrow_and_update().clone() else { continue };
                    discovery.update(|model, _| model.set_tls(current));
                }
            };
            let mut connection = client.connection();
            let limited = async {
                while connection.changed().await.is_ok() {
                    let now = connection.borrow_and_update().clone();
                    if let Connection::Connected { max_subscriptions: Some(max), .. } = now {
                        discovery.update(|model, _| model.limit_subscriptions(max));
                    }
                }
            };
            tokio::join!(client.run(), renewed, limited);
        }
    }

    /// Changes what is known and puts what follows in force.
    fn update<R>(&self, change: impl FnOnce(&mut Model, std::time::Instant) -> R) -> R {
        let inner = &*self.0;
        let (result, publication, inbound, unanswered) = {
            let mut model = inner.model.lock();
            let now = Instant::now().into_std();
            let result = change(&mut model, now);
            inner.status.full(model.fullness());
            (result, model.publish(now), model.inbound().is_some(), model.unanswered())
        };
        if let Some(snapshot) = publication.snapshot {
            inner.shared.snapshot.store(Arc::new(snapshot));
        }
        for answered in publication.answered {
            // The request may have given up.
            let _ = answered.send(());
        }
        inner.status.published(inbound, unanswered);
        self.subscribe();
        result
    }

    fn subscribe(&self) {
        let subscribing = self.0.subscribing.lock();
        let Some(subscribing) = &*subscribing else { return };
        for wish in self.0.model.lock().take_wishes() {
            match wish {
                Wish::Destination(name, true) => subscribing.destinations.subscribe(&name),
                Wish::Destination(name, false) => subscribing.destinations.unsubscribe(&name),
                Wish::Endpoints(service, true) => subscribing.endpoints.subscribe(&format!("{service}/*")),
                Wish::Endpoints(service, false) => subscribing.endpoints.unsubscribe(&format!("{service}/*")),
            }
        }
    }
}

struct Destinations(Discovery);

impl Handler<v1::Destination> for Destinations {
    fn apply(&mut self, changes: Changes<v1::Destination>) -> Vec<Rejection> {
        self.0.update(|model, _| {
            let mut refused = Vec::new();
            for update in changes.updates {
                let Ok(wire) = update.resource else { continue };
                match convert::destination_keeping(&update.name, &wire, model.kept()) {
                    Ok(destination) => model.destination(&update.name, destination),
                    Err(error) => refused.push(reject(&update.name, &error)),
                }
            }
            for name in changes.removed {
                model.no_destination(&name);
            }
            refused
        })
    }

    fn forget(&mut self, names: Vec<Arc<str>>) {
        self.0.update(|model, _| names.iter().for_each(|name| model.forget_destination(name)));
    }
}

/// Takes endpoints; the second is the own workload, where nothing is redirected to its proxy that comes from within.
struct Endpoints(Discovery, Option<Arc<str>>);

impl Handler<v1::Endpoint> for Endpoints {
    fn apply(&mut self, changes: Changes<v1::Endpoint>) -> Vec<Rejection> {
        self.0.update(|model, _| {
            let mut refused = Vec::new();
            for update in changes.updates {
                let Ok(wire) = update.resource else { continue };
                let Some((service, id)) = member(&update.name) else {
                    refused.push(Rejection::new(update.name, "the name is not NAMESPACE/SERVICE:PORT/ID"));
                    continue;
                };
                match convert::endpoint(id, &wire) {
                    Ok(mut endpoint) => {
                        // Names are each identity's own.
                        let identity = self.0.0.credentials.tls();
                        let identity = identity.as_ref().map(|tls| tls.generation().identity());
                        endpoint.own = self.1.as_ref() == Some(&endpoint.workload)
                            && identity.is_some_and(|own| endpoint.identities.contains(own));
                        model.endpoint(&service, endpoint);
                    }
                    Err(error) => refused.push(reject(&update.name, &error)),
                }
            }
            for name in &changes.removed {
                match member(name) {
                    Some((service, "*")) => model.no_endpoints(&service),
                    Some((service, id)) => model.no_endpoint(&service, id),
                    None => {}
                }
            }
            for (service, _) in changes.complete.iter().filter_map(|name| member(name)) {
                model.endpoints_complete(&service);
            }
            refused
        })
    }

    fn forget(&mut self, names: Vec<Arc<str>>) {
        self.0.update(|model, _| {
            for (service, _) in names.iter().filter_map(|name| member(name)) {
                model.forget_endpoints(&service);
            }
        });
    }
}

struct Inbounds(Discovery, TrustDomain);

impl Handler<v1::Inbound> for Inbounds {
    fn apply(&mut self, changes: Changes<v1::Inbound>) -> Vec<Rejection> {
        self.0.update(|model, _| {
            let mut refused = Vec::new();
            for update in changes.updates {
                let Ok(wire) = update.resource else { continue };
                match convert::inbound_keeping(&wire, &self.1, model.kept()) {
                    Ok(inbound) => {
                        if let Some(problem) = inbound.unreadable.clone() {
                            tracing::error!(problem, "nobody is let in where it can't be read who may be");
                            refused.push(Rejection::new(update.name, problem));
                        }
                        model.set_inbound(inbound);
                    }
                    Err(error) => refused.push(reject(&update.name, &error)),
                }
            }
            // What the workload let in stays when the control plane does not know the workload: it may only be late.
            refused
        })
    }

    fn forget(&mut self, _: Vec<Arc<str>>) {}
}

struct Bundles(Discovery);

impl Handler<v1::TrustBundle> for Bundles {
    fn apply(&mut self, changes: Changes<v1::TrustBundle>) -> Vec<Rejection> {
        let mut refused = Vec::new();
        for update in changes.updates {
            let Ok(wire) = update.resource else { continue };
            match bundle(&wire) {
                Ok(bundle) => {
                    if self.0.0.credentials.discovered(bundle) {
                        tracing::info!(
                            trust_domain = wire.trust_domain,
                            roots = wire.roots.len(),
                            revoked = wire.revoked.len(),
                            "whom to believe changed"
                        );
                    }
                }
                Err(reason) => refused.push(Rejection::new(update.name, reason)),
            }
        }
        refused
    }

    fn forget(&mut self, _: Vec<Arc<str>>) {}
}

fn bundle(wire: &v1::TrustBundle) -> Result<weft_identity::TrustBundle, String> {
    let trust_domain: TrustDomain =
        wire.trust_domain.parse().map_err(|error| format!("trust_domain: {error}"))?;
    let mut bundle = weft_identity::TrustBundle::new();
    for (index, root) in wire.roots.iter().enumerate() {
        let root = root.to_vec().into();
        bundle.add(&trust_domain, &root).map_err(|error| format!("roots[{index}]: {error}"))?;
    }
    if bundle.is_empty() {
        return Err("roots: there is none, and so nobody could be believed".to_owned());
    }
    Ok(bundle.with_revoked(revoked(&wire.revoked)?))
}

/// The service port and the id of an endpoint's name; the id of a collection is `*`.
fn member(name: &str) -> Option<(ServicePort, &str)> {
    let (service, id) = name.rsplit_once('/')?;
    Some((service.parse().ok()?, id))
}

fn reject(name: &Arc<str>, error: &weft_mesh::Error) -> Rejection {
    tracing::warn!(resource = %name, %error, "refused a resource; the one before it stays in force");
    Rejection::new(Arc::clone(name), error.to_string())
}
