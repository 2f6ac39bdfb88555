//! What is revoked, in a `ConfigMap` of the mesh's namespace: each under its name, so that two who revoke at once don't undo
//! each other.

use futures_util::{StreamExt as _, pin_mut};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::api::Api;
use kube::runtime::watcher::{Config, Event};
use kube::{Client, Error as KubeError};

use super::{SYSTEM_NAMESPACE, watched};
use crate::Error;
use crate::revocations::{REVOCATIONS, Revocations};

fn maps(client: Client) -> Api<ConfigMap> {
    Api::namespaced(client, SYSTEM_NAMESPACE)
}

fn set(revocations: &Revocations, map: Option<&ConfigMap>) {
    let held = map.and_then(|map| map.data.as_ref()).into_iter().flatten();
    revocations.set(held.map(|(key, text)| (key.as_str(), serde_json::from_str(text).ok())));
}

/// Reads it once; there may be none.
pub(super) async fn read(client: Client, revocations: &Revocations) -> Result<(), Error> {
    match maps(client).get_opt(REVOCATIONS).await {
        Ok(map) => {
            set(revocations, map.as_ref());
            Ok(())
        }
        Err(error) => {
            let hint = match &error {
                KubeError::Api(status) if status.code == 403 => {
                    "; the control plane's Role lacks the permission: `weft install` renders one that has it"
                }
                _ => "",
            };
            Err(Error::Kubernetes(format!(
                "can't read ConfigMap {REVOCATIONS} in namespace {SYSTEM_NAMESPACE}, so that it is not known what is revoked: \
                 {error}{hint}"
            )))
        }
    }
}

/// Follows it. Never returns.
pub(super) async fn follow(client: Client, revocations: &Revocations) {
    let only = Config::default().fields(&format!("metadata.name={REVOCATIONS}"));
    let changes = watched(maps(client), only);
    pin_mut!(changes);
    let mut listed = None;
    while let Some(change) = changes.next().await {
        match change {
            Ok(Event::Init) => listed = None,
            Ok(Event::InitApply(map)) => listed = Some(map),
            Ok(Event::InitDone) => set(revocations, listed.take().as_ref()),
            Ok(Event::Apply(map)) => set(revocations, Some(&map)),
            Ok(Event::Delete(_)) => {
                tracing::warn!("ConfigMap {REVOCATIONS} is gone: what it revoked is believed again");
                set(revocations, None);
            }
            Err(error) => tracing::debug!(%error, "can't watch what is revoked now"),
        }
    }
    std::future::pending::<()>().await;
}
