//! Writing what is to be said, wherever it is not said yet.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures_util::{StreamExt as _, pin_mut};
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, Patch, PatchParams};
use kube::runtime::watcher::{Config, Event};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::judge::{Judged, field, wanted};
use super::mesh;
use crate::compile::Reader;
use crate::discovery::Discovery;
use crate::index::{DependencyKey, Index};
use crate::kubernetes::watched;
use crate::source::kubernetes::{decode_object, key_of_object, served};
use weft_resource::{Key, Kind};

/// Changes that come close after each other are looked at together.
const TOGETHER: Duration = Duration::from_millis(50);
/// How often it is looked for kinds that the cluster did not know, and for what somebody else has written.
const AGAIN: Duration = Duration::from_secs(30);
/// Events that may wait.
const QUEUE: usize = 1024;

/// Kinds with a status of ours.
const KINDS: [Kind; 10] = [
    Kind::HttpRoute,
    Kind::GrpcRoute,
    Kind::TlsRoute,
    Kind::TcpRoute,
    Kind::AuthorizationPolicy,
    Kind::BackendPolicy,
    Kind::ExternalService,
    Kind::FaultFilter,
    Kind::MeshPolicy,
    Kind::RateLimitFilter,
];

/// Writes the status of routes, of our own kinds and of the mesh.
pub(crate) struct Writer {
    client: Client,
    discovery: Arc<Discovery>,
}

/// What is judged, and what each judgement rests on: a change of none of that can't change it.
#[derive(Default)]
struct Known {
    routes: HashMap<Key, Judged>,
    dependencies: HashMap<Key, HashSet<DependencyKey>>,
    resting_on: HashMap<DependencyKey, HashSet<Key>>,
    /// To be judged.
    due: HashSet<Key>,
    /// Could not be written; to be judged again after a while.
    failed: HashSet<Key>,
}

impl Known {
    fn take(&mut self, news: News) {
        match news {
            News::Is(route) => {
                self.due.insert(route.key.clone());
                self.routes.insert(route.key.clone(), *route);
            }
            News::Gone(key) => {
                self.routes.remove(&key);
                self.due.remove(&key);
                self.failed.remove(&key);
                self.rest_on(&key, HashSet::new());
            }
        }
    }

    /// What could not be written is due again.
    fn retry(&mut self) {
        self.due.extend(self.failed.drain());
    }

    /// These have changed.
    fn changed(&mut self, dependencies: &HashSet<DependencyKey>) {
        let resting = dependencies.iter().filter_map(|fact| self.resting_on.get(fact));
        self.due.extend(resting.flatten().cloned());
    }

    fn rest_on(&mut self, key: &Key, dependencies: HashSet<DependencyKey>) {
        for fact in self.dependencies.remove(key).into_iter().flatten() {
            if let Some(resting) = self.resting_on.get_mut(&fact) {
                resting.remove(key);
                if resting.is_empty() {
                    self.resting_on.remove(&fact);
                }
            }
        }
        for fact in &dependencies {
            self.resting_on.entry(fact.clone()).or_default().insert(key.clone());
        }
        if !dependencies.is_empty() {
            self.dependencies.insert(key.clone(), dependencies);
        }
    }

    /// Judges one that is due.
    fn judge(&mut self, key: &Key, index: &Index, now: &str) -> Option<Vec<Value>> {
        let reader = Reader::new(index);
        let wanted = wanted(self.routes.get(key)?, &reader, now);
        self.rest_on(key, reader.into_facts());
        wanted
    }
}

/// What became of a resource.
enum News {
    Is(Box<Judged>),
    Gone(Key),
}

impl Writer {
    pub(crate) fn new(client: Client, discovery: Arc<Discovery>) -> Self {
        Self { client, discovery }
    }

    /// Never returns; may be dropped at any time.
    pub(crate) async fn run(&self) {
        let changed = self.discovery.changes();
        let (news, mut coming) = mpsc::channel(QUEUE);
        let mut tasks = JoinSet::new();
        let mut watched: HashMap<Kind, ApiResource> = HashMap::new();
        let mut known = Known::default();
        let mut again = tokio::time::interval(AGAIN);
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                _ = again.tick() => {
                    if let Err(error) = mesh::tell(&self.client).await {
                        tracing::debug!(%error, "can't write the mesh's own status now");
                    }
                    known.retry();
                    let missing = KINDS.into_iter().filter(|kind| !watched.contains_key(kind));
                    for (kind, resource) in served(&self.client, missing).await.unwrap_or_default() {
                        tasks.spawn(follow(self.client.clone(), kind, resource.clone(), news.clone()));
                        watched.insert(kind, resource);
                    }
                }
                _ = coming.recv_many(&mut batch, QUEUE) => {}
                () = changed.wait() => {}
            }
            tokio::time::sleep(TOGETHER).await;
            while let Ok(more) = coming.try_recv() {
                batch.push(more);
            }
            batch.drain(..).for_each(|news| known.take(news));
            known.changed(&changed.take());
            self.write(&mut known, &watched).await;
        }
    }

    /// Writes what is due. Each is judged for itself, so that nobody waits for all of them.
    async fn write(&self, known: &mut Known, watched: &HashMap<Kind, ApiResource>) {
        let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
        for key in std::mem::take(&mut known.due) {
            let wanted = self.discovery.inspect(|index| known.judge(&key, index, &now));
            if let (Some(list), Some(resource)) = (wanted, watched.get(&key.kind)) {
                self.write_one(known, key, list, resource).await;
            }
        }
    }

    async fn write_one(&self, known: &mut Known, key: Key, list: Vec<Value>, resource: &ApiResource) {
        let Some(route) = known.routes.get_mut(&key) else { return };
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &key.namespace, resource);
        // With the version that was judged: who changed it meanwhile causes it to be judged again.
        let patch = json!({
            "metadata": {"resourceVersion": route.resource_version},
            "status": {field(key.kind): list},
        });
        match api.patch_status(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await {
            Ok(written) => {
                route.status = list;
                route.resource_version = written.metadata.resource_version.unwrap_or_default();
            }
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => {}
            Err(error) => {
                tracing::warn!(resource = %key, %error, "can't write its status; trying again");
                known.failed.insert(key);
            }
        }
    }
}

/// Watches one kind. Never returns before the receiver is gone.
async fn follow(client: Client, kind: Kind, resource: ApiResource, news: mpsc::Sender<News>) {
    let api: Api<DynamicObject> = Api::all_with(client, &resource);
    let events = watched(api, Config::default());
    pin_mut!(events);
    while let Some(event) = events.next().await {
        let told = match event {
            Ok(Event::Apply(object) | Event::InitApply(object)) => {
                News::Is(Box::new(judged(kind, &resource, object)))
            }
            Ok(Event::Delete(object)) => News::Gone(key_of_object(kind, &object)),
            Ok(Event::Init | Event::InitDone) => continue,
            Err(error) => {
                tracing::debug!(%kind, %error, "can't watch now");
                continue;
            }
        };
        if news.send(told).await.is_err() {
            return;
        }
    }
}

fn judged(kind: Kind, resource: &ApiResource, object: DynamicObject) -> Judged {
    let list = |pointer: &str| {
        let found = object.data.pointer(pointer).and_then(Value::as_array);
        found.cloned().unwrap_or_default()
    };
    let (parents, status) = (list("/spec/parentRefs"), list(&format!("/status/{}", field(kind))));
    let generation = object.metadata.generation.unwrap_or_default();
    let resource_version = object.metadata.resource_version.clone().unwrap_or_default();
    let key = key_of_object(kind, &object);
    let decoded = decode_object(kind, resource, object);
    Judged {
        key,
        generation,
        parents,
        status,
        resource_version,
        object: decoded.object,
        problems: decoded.problems,
        dropped: decoded.dropped,
    }
}

#[cfg(test)]
mod tests;
