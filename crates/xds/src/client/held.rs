//! What a client subscribes to and holds, for one type: sorts responses and says what to resume with. No I/O.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};

use super::handler::Raw;
use crate::Rejection;
use crate::resource::{collection_of, is_collection};

#[derive(Debug, Default)]
struct Collection {
    /// The version of the server's word that all members were sent.
    complete: Option<Arc<str>>,
    members: HashMap<Arc<str>, Arc<str>>,
}

/// The subscriptions of one type, with the versions of what was accepted.
#[derive(Debug, Default)]
pub(super) struct Held {
    names: HashMap<Arc<str>, Option<Arc<str>>>,
    collections: HashMap<Arc<str>, Collection>,
}

/// A response by what it means.
#[derive(Debug, Default)]
pub(super) struct Sorted {
    pub(super) updates: Vec<Raw>,
    pub(super) removed: Vec<Arc<str>>,
    pub(super) complete: Vec<Arc<str>>,
}

impl Held {
    /// Begins a subscription; false if it is there already.
    pub(super) fn subscribe(&mut self, name: &Arc<str>) -> bool {
        if self.names.contains_key(name) || self.collections.contains_key(name) {
            return false;
        }
        if is_collection(name) {
            self.collections.insert(Arc::clone(name), Collection::default());
        } else {
            let held = self.collections.get(collection_of(name).as_str()).and_then(|c| c.members.get(name));
            self.names.insert(Arc::clone(name), held.cloned());
        }
        true
    }

    /// Ends a subscription. Gives the names that nothing covers any more, or nothing if it was not there.
    pub(super) fn unsubscribe(&mut self, name: &Arc<str>) -> Option<Vec<Arc<str>>> {
        if let Some(collection) = self.collections.remove(name) {
            let members = collection.members.into_keys().filter(|member| !self.names.contains_key(member));
            return Some(members.chain([Arc::clone(name)]).collect());
        }
        let version = self.names.remove(name)?;
        let Some(collection) = self.collections.get_mut(collection_of(name).as_str()) else {
            return Some(vec![Arc::clone(name)]);
        };
        // Whether it is a member is for the server to say: it answers with the resource or its removal.
        if let Some(version) = version {
            collection.members.entry(Arc::clone(name)).or_insert(version);
        }
        Some(Vec::new())
    }

    fn covers(&self, name: &str) -> bool {
        self.names.contains_key(name) || self.collections.contains_key(collection_of(name).as_str())
    }

    /// Sorts a response; what is not subscribed to (any more) is left out. Removals are noted at once, updates by
    /// [`accept`](Self::accept).
    pub(super) fn sort(&mut self, response: DeltaDiscoveryResponse) -> Sorted {
        let mut sorted = Sorted::default();
        let mut seen = HashSet::new();
        // Of several with one name the last counts, and an update counts more than a removal.
        for resource in response.resources.into_iter().rev() {
            let (name, version): (Arc<str>, Arc<str>) = (resource.name.into(), resource.version.into());
            match resource.resource {
                Some(content) if self.covers(&name) && seen.insert(Arc::clone(&name)) => {
                    sorted.updates.push(Raw { name, version, content });
                }
                Some(_) => {}
                None => {
                    if let Some(collection) = self.collections.get_mut(&name)
                        && seen.insert(Arc::clone(&name))
                    {
                        collection.complete = Some(version);
                        sorted.complete.push(name);
                    }
                }
            }
        }
        for name in response.removed_resources {
            let name: Arc<str> = name.into();
            self.remove(&name, &mut sorted.removed, &mut seen);
        }
        sorted.updates.reverse();
        sorted
    }

    fn remove(&mut self, name: &Arc<str>, removed: &mut Vec<Arc<str>>, seen: &mut HashSet<Arc<str>>) {
        if !(self.covers(name) || self.collections.contains_key(name)) || !seen.insert(Arc::clone(name)) {
            return;
        }
        if let Some(collection) = self.collections.get_mut(name) {
            collection.complete = None;
            let names = &self.names;
            let members = std::mem::take(&mut collection.members).into_keys();
            let members =
                members.filter(|member| !names.contains_key(member) && seen.insert(Arc::clone(member)));
            removed.extend(members);
        }
        if let Some(version) = self.names.get_mut(name) {
            *version = None;
        }
        if let Some(collection) = self.collections.get_mut(collection_of(name).as_str()) {
            collection.members.remove(name);
        }
        removed.push(Arc::clone(name));
    }

    /// Notes the versions of updates, but for the refused ones: of those the version before stays.
    pub(super) fn accept(&mut self, updates: &[(Arc<str>, Arc<str>)], rejections: &[Rejection]) {
        let refused: HashSet<&str> = rejections.iter().map(|rejection| &*rejection.name).collect();
        for (name, version) in updates {
            if refused.contains(&**name) {
                continue;
            }
            if let Some(held) = self.names.get_mut(name) {
                *held = Some(Arc::clone(version));
            }
            if let Some(collection) = self.collections.get_mut(collection_of(name).as_str()) {
                collection.members.insert(Arc::clone(name), Arc::clone(version));
            }
        }
    }

    /// The requests that subscribe to everything and tell what is held: one, or several where one would get larger
    /// than about `batch_bytes`. A collection goes with its members.
    pub(super) fn resume(&self, type_url: &str, batch_bytes: usize) -> Vec<DeltaDiscoveryRequest> {
        let mut requests = Vec::new();
        let mut request = DeltaDiscoveryRequest { type_url: type_url.to_owned(), ..Default::default() };
        let mut bytes = 0;
        let names = self.names.iter().map(|(name, version)| (name, version.as_ref(), None));
        let collections = self
            .collections
            .iter()
            .map(|(name, collection)| (name, collection.complete.as_ref(), Some(&collection.members)));
        for (name, version, members) in names.chain(collections) {
            if bytes >= batch_bytes {
                let next = DeltaDiscoveryRequest { type_url: type_url.to_owned(), ..Default::default() };
                requests.push(std::mem::replace(&mut request, next));
                bytes = 0;
            }
            bytes += name.len();
            request.resource_names_subscribe.push(name.to_string());
            let held =
                version.map(|version| (name, version)).into_iter().chain(members.into_iter().flatten());
            for (name, version) in held {
                bytes += name.len() + version.len();
                request.initial_resource_versions.insert(name.to_string(), version.to_string());
            }
        }
        if !request.resource_names_subscribe.is_empty() {
            requests.push(request);
        }
        requests
    }
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;
    use envoy_types::pb::envoy::service::discovery::v3::Resource;

    /// A server may say anything that can be decoded: what is held stays what was subscribed to.
    #[test]
    fn whatever_a_server_says_nothing_is_held_that_was_not_asked_for() {
        let resource = |name: &str, content: bool| Resource {
            name: name.to_owned(),
            version: "1".to_owned(),
            resource: content.then(Default::default),
            ..Resource::default()
        };
        let response = |resources, removed_resources: &[&str]| DeltaDiscoveryResponse {
            resources,
            removed_resources: removed_resources.iter().map(ToString::to_string).collect(),
            ..DeltaDiscoveryResponse::default()
        };
        let seeds = [
            response(vec![resource("a", true), resource("c/1", true), resource("c/*", false)], &[]),
            response(vec![resource("c/2", true), resource("other", true)], &["a", "c/1"]),
            response(vec![resource("a", true), resource("a", true)], &["a", "c/*"]),
        ];
        let seeds: Vec<_> = seeds.iter().map(DeltaDiscoveryResponse::encode_to_vec).collect();
        let mut held = Held::default();
        for name in ["a", "c/*"] {
            held.subscribe(&name.into());
        }
        weft_testkit::mutation::inputs(&seeds, 5000, |input| {
            let Ok(response) = DeltaDiscoveryResponse::decode(input) else { return };
            let sorted = held.sort(response);
            let versions: Vec<_> = sorted
                .updates
                .iter()
                .map(|update| (Arc::clone(&update.name), Arc::clone(&update.version)))
                .collect();
            assert!(
                versions.iter().all(|(name, _)| &**name == "a" || name.starts_with("c/")),
                "{versions:?}"
            );
            held.accept(&versions, &[]);
            for request in held.resume("type", 1000) {
                assert!(request.resource_names_subscribe.iter().all(|name| name == "a" || name == "c/*"));
            }
        });
    }
}
