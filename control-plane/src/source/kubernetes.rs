//! A Kubernetes cluster: what there is of each kind that is about the mesh, and of pods, by watch.
//!
//! Each kind has a task that lists and watches it, and decodes what comes; one task applies it all, many changes at once
//! where many have come. What can't be reached stays as it was. A resource that is wrong keeps what it said when it was
//! last right, as long as this process lives.

mod health;
mod store;
mod translate;

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fmt::{self, Debug};
use std::hash::Hash;
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, pin_mut};
use k8s_openapi::api::core::v1::Pod as ClusterPod;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::watcher::Config;
use parking_lot::Mutex;
use prometheus_client::metrics::gauge::Gauge;
use serde::de::DeserializeOwned;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use weft_mesh::name::TrustDomain;

pub(crate) use self::health::WatchHealth;
use self::store::{News, Store};
pub(crate) use self::translate::{decode_object, key as key_of_object};
use super::Diagnostic;
use crate::config_watcher::ConfigStatus;
use crate::discovery::Discovery;
use crate::index::Change;
use crate::kubernetes::{REQUEST_TIMEOUT, watched};
use crate::metrics::Metrics;
use weft_resource::{Key, Kind, Problem, Severity};

/// Batches of news that may wait; a watch that is further ahead waits, too.
const QUEUE: usize = 256;
/// Time between looks at whether the API server answers, and which kinds it knows by now.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Kinds that are watched. What else of a Namespace would matter is on its pods.
fn kinds() -> impl Iterator<Item = Kind> {
    Kind::ALL.into_iter().filter(|kind| *kind != Kind::Namespace)
}

/// Who tells of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
enum Watched {
    Kind(Kind),
    Pods,
}

impl fmt::Display for Watched {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind(kind) => fmt::Display::fmt(kind, f),
            Self::Pods => f.write_str("Pod"),
        }
    }
}

/// Watches on everything that is about the mesh.
pub(crate) struct Watches {
    client: Client,
    discovery: Arc<Discovery>,
    metrics: Arc<Metrics>,
    status: Arc<Mutex<ConfigStatus>>,
    trust_domain: TrustDomain,
    synced: watch::Sender<bool>,
    health: WatchHealth,
}

impl Watches {
    pub(crate) fn new(
        client: Client,
        discovery: Arc<Discovery>,
        metrics: Arc<Metrics>,
        status: Arc<Mutex<ConfigStatus>>,
        trust_domain: TrustDomain,
    ) -> Self {
        let (synced, health) = (watch::Sender::new(false), WatchHealth::default());
        Self { client, discovery, metrics, status, trust_domain, synced, health }
    }

    /// How the watches are doing.
    pub(crate) fn health(&self) -> WatchHealth {
        self.health.clone()
    }

    /// Whether everything that was there at the beginning has been read.
    pub(crate) fn synced(&self) -> watch::Receiver<bool> {
        self.synced.subscribe()
    }

    /// Does not return unless a watch ends, which none is meant to: nothing would be heard of its kind any more.
    pub(crate) async fn follow(self) {
        let (news, mut coming) = mpsc::channel(QUEUE);
        let mut tasks = JoinSet::new();
        let mut watching = HashSet::from([Watched::Pods]);
        tasks.spawn(pods(self.client.clone(), self.trust_domain.clone(), self.health.clone(), news.clone()));
        let (found, mut finds) = mpsc::channel(1);
        let unreachable = self.metrics.api_server_unreachable.clone();
        tasks.spawn(look_for_kinds(self.client.clone(), found, unreachable, self.health.clone()));
        let mut state = State::default();
        // Until it is known once which kinds there are, not everything can have been read.
        let mut looked = false;
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                Some(kinds) = finds.recv() => {
                    for (kind, resource) in kinds {
                        tracing::info!(%kind, version = resource.version, "watched");
                        watching.insert(Watched::Kind(kind));
                        let health = self.health.clone();
                        tasks.spawn(objects(self.client.clone(), kind, resource, health, news.clone()));
                    }
                    looked = true;
                }
                Some(ended) = tasks.join_next() => {
                    tracing::error!(?ended, "a watch has ended, which is a bug; the control plane ends, to begin anew");
                    return;
                }
                // There is a sender here, so it does not end.
                _ = coming.recv_many(&mut batch, QUEUE) => self.apply(&mut state, batch.drain(..)),
            }
            if looked && !*self.synced.borrow() && watching.is_subset(&state.read) {
                tracing::info!(kinds = watching.len(), "everything in the cluster has been read");
                self.synced.send_replace(true);
            }
        }
    }

    fn apply(&self, state: &mut State, batch: impl Iterator<Item = (Watched, News)>) {
        let mut changes = Vec::new();
        let mut judged = false;
        for (watched, news) in batch {
            if news.whole {
                state.read.insert(watched);
            }
            for (key, problems) in news.judged {
                judged = true;
                state.judge(key, problems);
            }
            changes.extend(news.changes);
        }
        if judged {
            self.tell(state);
        }
        if changes.is_empty() {
            return;
        }
        self.metrics.config_loads.inc();
        let affected = self.discovery.apply(&changes);
        tracing::debug!(changes = changes.len(), destinations = affected.destinations.len(), "applied");
    }

    /// Tells once of what is wrong.
    fn tell(&self, state: &State) {
        let diagnostics = state.problems.iter().flat_map(|(key, problems)| {
            problems.iter().map(move |problem| Diagnostic::of_cluster(key, problem))
        });
        let (errors, warnings): (Vec<_>, Vec<_>) = diagnostics.partition(|it| it.severity == Severity::Error);
        let mut status = self.status.lock();
        self.metrics.config_errors.set(i64::try_from(errors.len()).unwrap_or(i64::MAX));
        status.set(errors, warnings);
    }
}

/// What is known beside the index.
#[derive(Default)]
struct State {
    /// Of whom everything that is there has been read.
    read: HashSet<Watched>,
    problems: BTreeMap<Key, Vec<Problem>>,
}

impl State {
    fn judge(&mut self, key: Key, problems: Vec<Problem>) {
        if problems.is_empty() {
            self.problems.remove(&key);
        } else {
            self.problems.insert(key, problems);
        }
    }
}

/// Looks again and again whether the API server answers, and tells which kinds it has that it did not have before; the first
/// time also when there is none. Never returns before the receiver is gone.
async fn look_for_kinds(
    client: Client,
    found: mpsc::Sender<Vec<(Kind, ApiResource)>>,
    unreachable: Gauge,
    health: WatchHealth,
) {
    let mut missing: Vec<Kind> = kinds().collect();
    let mut answers = true;
    let mut looks = tokio::time::interval(LOOK_EVERY);
    looks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        looks.tick().await;
        let asked = async {
            if missing.is_empty() {
                return client.apiserver_version().await.map(|_| Vec::new());
            }
            served(&client, missing.iter().copied()).await
        };
        let answer = match tokio::time::timeout(REQUEST_TIMEOUT, asked).await {
            Ok(answer) => answer.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer within {REQUEST_TIMEOUT:?}")),
        };
        let answered = std::mem::replace(&mut answers, answer.is_ok());
        unreachable.set(i64::from(answer.is_err()));
        // As long as nobody answers, no watch is to blame.
        health.api_server(answer.is_ok());
        match answer {
            Ok(kinds) => {
                if !answered {
                    tracing::info!("the API server answers again");
                }
                missing.retain(|kind| kinds.iter().all(|(found, _)| found != kind));
                if found.send(kinds).await.is_err() {
                    return;
                }
            }
            Err(error) if answered => {
                tracing::warn!(error, "the API server does not answer; what is in force stays until it does");
            }
            Err(error) => tracing::debug!(error, "the API server still does not answer"),
        }
    }
}

/// Which of these kinds the API server has, each in the version that is preferred of those that it has.
pub(crate) async fn served(
    client: &Client,
    kinds: impl Iterator<Item = Kind>,
) -> Result<Vec<(Kind, ApiResource)>, kube::Error> {
    let mut known: BTreeMap<String, BTreeSet<(String, String)>> = BTreeMap::new();
    let mut found = Vec::new();
    for kind in kinds {
        for version in kind.versions() {
            let api_version = if kind.group().is_empty() {
                (*version).to_owned()
            } else {
                format!("{}/{version}", kind.group())
            };
            if !known.contains_key(&api_version) {
                known.insert(api_version.clone(), resources(client, kind.group(), &api_version).await?);
            }
            let plural =
                known.get(&api_version).into_iter().flatten().find(|(name, _)| name == kind.as_str());
            if let Some((_, plural)) = plural {
                let gvk = GroupVersionKind::gvk(kind.group(), version, kind.as_str());
                found.push((kind, ApiResource::from_gvk_with_plural(&gvk, plural)));
                break;
            }
        }
    }
    Ok(found)
}

/// The kinds of a group and version, with their plurals; none if there is no such group.
async fn resources(
    client: &Client,
    group: &str,
    api_version: &str,
) -> Result<BTreeSet<(String, String)>, kube::Error> {
    let listed = if group.is_empty() {
        client.list_core_api_resources(api_version).await
    } else {
        client.list_api_group_resources(api_version).await
    };
    match listed {
        Ok(list) => {
            let whole = list.resources.into_iter().filter(|resource| !resource.name.contains('/'));
            Ok(whole.map(|resource| (resource.kind, resource.name)).collect())
        }
        Err(kube::Error::Api(status)) if status.code == 404 => Ok(BTreeSet::new()),
        Err(error) => Err(error),
    }
}

/// Watches one kind. Never returns before the receiver is gone.
async fn objects(
    client: Client,
    kind: Kind,
    resource: ApiResource,
    health: WatchHealth,
    news: mpsc::Sender<(Watched, News)>,
) {
    let api: Api<DynamicObject> = Api::all_with(client, &resource);
    let store = Store::new(move |object: &DynamicObject| translate::key(kind, object));
    let translate = |key, object| translate::object(key, &resource, object);
    follow(Watched::Kind(kind), api, store, translate, Change::Remove, health, news).await;
}

/// Watches pods.
async fn pods(
    client: Client,
    trust_domain: TrustDomain,
    health: WatchHealth,
    news: mpsc::Sender<(Watched, News)>,
) {
    let translate = |id, pod: ClusterPod| translate::pod(id, &pod, &trust_domain);
    let store = Store::new(translate::pod_id);
    follow(Watched::Pods, Api::all(client), store, translate, Change::RemovePod, health, news).await;
}

async fn follow<K, Id, F>(
    what: Watched,
    api: Api<K>,
    mut store: Store<Id, K, F>,
    translate: impl Fn(Id, K) -> News,
    gone: impl Fn(Id) -> Change,
    health: WatchHealth,
    news: mpsc::Sender<(Watched, News)>,
) where
    K: kube::Resource + Clone + DeserializeOwned + Debug + Send + 'static,
    Id: Clone + Eq + Hash,
    F: Fn(&K) -> Id,
{
    let events = watched(api, Config::default());
    pin_mut!(events);
    let mut read = false;
    while let Some(event) = events.next().await {
        match &event {
            Ok(_) => health.works(what),
            Err(error) => health.failed(what, error),
        }
        let event = match event {
            Ok(event) => event,
            // What is not read at the beginning holds everything up; later, what is in force stays.
            Err(error) if !read => {
                tracing::warn!(?what, %error, "can't read what there is; trying again");
                continue;
            }
            Err(error) => {
                tracing::debug!(?what, %error, "can't watch now");
                continue;
            }
        };
        let Some(told) = store.take(event, &translate, &gone) else { continue };
        read |= told.whole;
        if news.send((what, told)).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests;
