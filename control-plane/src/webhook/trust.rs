//! That the API server believes the webhook: the `caBundle` of its configuration is the mesh's roots.

use std::time::Duration;

use futures_util::{StreamExt as _, pin_mut};
use k8s_openapi::ByteString;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use kube::Client;
use kube::api::{Api, Patch, PatchParams};
use kube::runtime::watcher::{Config, Event};
use serde_json::{Value, json};
use tokio::sync::watch;

use crate::kubernetes::watched;

/// Name of the configuration.
const NAME: &str = "weft-injector";
/// Time until what could not be written is tried again.
const RETRY: Duration = Duration::from_secs(5);

/// Keeps the roots in the webhook's configuration, whoever else writes there. Never returns.
pub(crate) async fn keep(client: Client, mut roots: watch::Receiver<String>) {
    let api: Api<MutatingWebhookConfiguration> = Api::all(client);
    let only = Config::default().fields(&format!("metadata.name={NAME}"));
    let events = watched(api.clone(), only);
    pin_mut!(events);
    let mut current = None;
    let mut failed = false;
    loop {
        tokio::select! {
            Some(event) = events.next() => match event {
                Ok(Event::Apply(found) | Event::InitApply(found)) => current = Some(found),
                Ok(Event::Delete(_)) => current = None,
                Ok(Event::Init | Event::InitDone) => {}
                Err(error) => tracing::debug!(%error, "can't watch the webhook's configuration now"),
            },
            Ok(()) = roots.changed() => {}
            () = tokio::time::sleep(RETRY), if failed => {}
        }
        let wanted = roots.borrow().clone();
        let Some(patch) = current.as_ref().and_then(|current| patch(current, &wanted)) else { continue };
        match api.patch(NAME, &PatchParams::default(), &Patch::<Value>::Json(patch)).await {
            Ok(written) => {
                failed = false;
                current = Some(written);
                tracing::info!(configuration = NAME, "the API server believes the webhook");
            }
            Err(error) => {
                tracing::warn!(%error, "can't write the webhook's caBundle; trying again");
                failed = true;
            }
        }
    }
}

/// What to change, if anything.
fn patch(current: &MutatingWebhookConfiguration, roots: &str) -> Option<json_patch::Patch> {
    if roots.is_empty() {
        return None;
    }
    let wanted = ByteString(roots.as_bytes().to_vec());
    let webhooks = current.webhooks.iter().flatten().enumerate();
    let wrong = webhooks.filter(|(_, webhook)| webhook.client_config.ca_bundle.as_ref() != Some(&wanted));
    let changes: Vec<Value> = wrong
        .map(|(index, _)| json!({"op": "add", "path": format!("/webhooks/{index}/clientConfig/caBundle"), "value": wanted}))
        .collect();
    if changes.is_empty() {
        return None;
    }
    serde_json::from_value(Value::Array(changes)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_webhooks_that_have_other_roots_are_written() {
        let roots = ByteString(b"roots".to_vec());
        let configuration: MutatingWebhookConfiguration = serde_json::from_value(json!({"webhooks": [
            {"name": "a", "admissionReviewVersions": ["v1"], "sideEffects": "None", "clientConfig": {"caBundle": roots}},
            {"name": "b", "admissionReviewVersions": ["v1"], "sideEffects": "None", "clientConfig": {}},
        ]}))
        .unwrap();
        let made = patch(&configuration, "roots").unwrap();
        assert_eq!(made.0.len(), 1);
        assert_eq!(made.0[0].path().to_string(), "/webhooks/1/clientConfig/caBundle");
        assert!(patch(&configuration, "").is_none());
    }
}
