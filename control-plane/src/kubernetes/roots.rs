//! The mesh's roots, in a `ConfigMap` of every namespace: by them a proxy knows the control plane at the first contact.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use futures_util::{StreamExt as _, pin_mut};
use k8s_openapi::api::core::v1::{ConfigMap, Namespace};
use kube::api::{Api, Patch, PatchParams};
use kube::core::PartialObjectMeta;
use kube::runtime::watcher::{Config, Event};
use kube::{Client, ResourceExt as _};
use serde_json::json;
use tokio::sync::watch;

use super::{FIELD_MANAGER, watched};

/// Name of the `ConfigMap`, and of its one key.
pub(crate) const NAME: &str = "weft-roots";
pub(super) const KEY: &str = "roots.pem";
/// Time until what could not be written is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Which namespaces there are, and what each has.
#[derive(Debug, Default)]
struct Known {
    namespaces: Listed<BTreeSet<String>>,
    held: Listed<BTreeMap<String, String>>,
}

/// A watched list: what is in force, and what comes in while it is read anew.
#[derive(Debug, Default)]
struct Listed<T> {
    now: T,
    coming: Option<T>,
    read: bool,
}

impl<T: Default> Listed<T> {
    /// Takes an event: each object as `put` and `remove` see it.
    fn take<K>(&mut self, event: Event<K>, put: impl Fn(&mut T, K), remove: impl Fn(&mut T, K)) {
        match event {
            Event::Init => self.coming = Some(T::default()),
            Event::InitApply(object) => put(self.coming.get_or_insert_default(), object),
            Event::InitDone => {
                self.now = self.coming.take().unwrap_or_default();
                self.read = true;
            }
            Event::Apply(object) => put(&mut self.now, object),
            Event::Delete(object) => remove(&mut self.now, object),
        }
    }
}

impl Known {
    fn namespace(&mut self, event: Event<PartialObjectMeta<Namespace>>) {
        let put = |namespaces: &mut BTreeSet<String>, namespace: PartialObjectMeta<Namespace>| {
            // Nothing can be made in one that is about to go.
            if namespace.metadata.deletion_timestamp.is_none() {
                namespaces.insert(namespace.name_any());
            } else {
                namespaces.remove(&namespace.name_any());
            }
        };
        self.namespaces.take(event, put, |namespaces, namespace| {
            namespaces.remove(&namespace.name_any());
        });
    }

    fn config_map(&mut self, event: Event<ConfigMap>) {
        let put = |held: &mut BTreeMap<String, String>, map: ConfigMap| {
            let text = map.data.as_ref().and_then(|data| data.get(KEY)).cloned().unwrap_or_default();
            held.insert(map.namespace().unwrap_or_default(), text);
        };
        self.held.take(event, put, |held, map| {
            held.remove(&map.namespace().unwrap_or_default());
        });
    }

    /// The namespaces that have other roots than these.
    fn without(&self, roots: &str) -> Vec<String> {
        if roots.is_empty() || !self.namespaces.read || !self.held.read {
            return Vec::new();
        }
        let lacks = |namespace: &&String| self.held.now.get(*namespace).is_none_or(|held| held != roots);
        self.namespaces.now.iter().filter(lacks).cloned().collect()
    }
}

/// Keeps these roots in every namespace. Never returns.
pub(super) async fn keep(client: Client, mut roots: watch::Receiver<String>) {
    let namespaces: Api<PartialObjectMeta<Namespace>> = Api::all(client.clone());
    let namespaces = watched(namespaces, Config::default());
    let maps: Api<ConfigMap> = Api::all(client.clone());
    let maps = watched(maps, Config::default().fields(&format!("metadata.name={NAME}")));
    pin_mut!(namespaces, maps);
    let mut known = Known::default();
    let mut failing = BTreeSet::new();
    loop {
        let retry = tokio::time::sleep(RETRY);
        tokio::select! {
            Some(event) = namespaces.next() => match event {
                Ok(event) => known.namespace(event),
                Err(error) => { tracing::debug!(%error, "can't watch namespaces now"); continue }
            },
            Some(event) = maps.next() => match event {
                Ok(event) => known.config_map(event),
                Err(error) => { tracing::debug!(%error, "can't watch the mesh's roots now"); continue }
            },
            Ok(()) = roots.changed() => {}
            () = retry, if !failing.is_empty() => {}
        }
        let wanted = roots.borrow().clone();
        for namespace in known.without(&wanted) {
            match write(&client, &namespace, &wanted).await {
                Ok(()) => {
                    failing.remove(&namespace);
                    known.held.now.insert(namespace, wanted.clone());
                }
                Err(error) => {
                    if failing.insert(namespace.clone()) {
                        tracing::warn!(namespace, %error, "can't write the mesh's roots; trying again");
                    }
                }
            }
        }
        failing.retain(|namespace| known.namespaces.now.contains(namespace));
    }
}

async fn write(client: &Client, namespace: &str, roots: &str) -> Result<(), kube::Error> {
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let map = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": NAME, "labels": {"app.kubernetes.io/managed-by": FIELD_MANAGER}},
        "data": {KEY: roots},
    });
    maps.patch(NAME, &PatchParams::apply(FIELD_MANAGER).force(), &Patch::Apply(map)).await.map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn namespace(name: &str) -> PartialObjectMeta<Namespace> {
        let mut namespace = PartialObjectMeta::<Namespace>::default();
        namespace.metadata.name = Some(name.to_owned());
        namespace
    }

    fn map(namespace: &str, roots: &str) -> ConfigMap {
        let mut map = ConfigMap::default();
        map.metadata.namespace = Some(namespace.to_owned());
        map.data = Some(BTreeMap::from([(KEY.to_owned(), roots.to_owned())]));
        map
    }

    #[test]
    fn namespaces_without_the_roots_in_force_are_written_once_both_lists_are_known() {
        let mut known = Known::default();
        for event in [Event::Init, Event::InitApply(namespace("shop")), Event::InitApply(namespace("bank"))] {
            known.namespace(event);
        }
        known.namespace(Event::InitDone);
        assert!(known.without("new").is_empty(), "what is there already is not known yet");
        known.config_map(Event::Init);
        known.config_map(Event::InitApply(map("bank", "new")));
        known.config_map(Event::InitDone);
        assert_eq!(known.without("new"), ["shop"]);
        assert!(known.without("").is_empty(), "there are no roots yet");
        known.config_map(Event::Apply(map("bank", "changed by somebody")));
        assert_eq!(known.without("new"), ["bank", "shop"]);
        known.config_map(Event::Delete(map("bank", "")));
        known.namespace(Event::Delete(namespace("shop")));
        assert_eq!(known.without("new"), ["bank"]);
    }

    #[test]
    fn a_namespace_that_is_about_to_go_is_left_alone() {
        let mut known = Known::default();
        known.namespace(Event::Init);
        known.namespace(Event::InitDone);
        known.config_map(Event::Init);
        known.config_map(Event::InitDone);
        known.namespace(Event::Apply(namespace("shop")));
        let mut going = namespace("shop");
        going.metadata.deletion_timestamp =
            Some(serde_json::from_value(json!("2026-01-01T00:00:00Z")).unwrap());
        known.namespace(Event::Apply(going));
        assert!(known.without("new").is_empty());
    }
}
