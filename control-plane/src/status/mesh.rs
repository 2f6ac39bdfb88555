//! The mesh as a resource of its own (Gateway API, `XMesh`): that it is there, and what of the standard it supports.

use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind, Patch, PatchParams};
use serde_json::{Value, json};

use super::CONTROLLER;
use crate::kubernetes::FIELD_MANAGER;

const NAME: &str = "weft";
const GROUP: &str = "gateway.networking.x-k8s.io";

/// What is supported, by the standard's names and in their order.
const FEATURES: [&str; 12] = [
    "GRPCRoute",
    "HTTPRoute",
    "Mesh",
    "MeshClusterIPMatching",
    "MeshConsumerRoute",
    "MeshHTTPRouteBackendRequestHeaderModification",
    "MeshHTTPRouteNamedRouteRule",
    "MeshHTTPRouteQueryParamMatching",
    "MeshHTTPRouteRedirectPath",
    "MeshHTTPRouteRedirectPort",
    "MeshHTTPRouteRewritePath",
    "MeshHTTPRouteSchemeRedirect",
];

/// Makes the resource if need be, and says in its status what the mesh supports. Nothing is done in a cluster that does not
/// know the kind.
pub(super) async fn tell(client: &Client) -> Result<(), kube::Error> {
    let resource =
        ApiResource::from_gvk_with_plural(&GroupVersionKind::gvk(GROUP, "v1alpha1", "XMesh"), "xmeshes");
    let api: Api<DynamicObject> = Api::all_with(client.clone(), &resource);
    let params = PatchParams::apply(FIELD_MANAGER).force();
    let mesh = json!({
        "apiVersion": resource.api_version,
        "kind": "XMesh",
        "metadata": {"name": NAME},
        "spec": {"controllerName": CONTROLLER},
    });
    let made = match api.patch(NAME, &params, &Patch::Apply(mesh)).await {
        Ok(made) => made,
        Err(kube::Error::Api(status)) if status.code == 404 => return Ok(()),
        Err(error) => return Err(error),
    };
    let generation = made.metadata.generation.unwrap_or(1);
    let now = jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    if let Some(status) = status(made.data.get("status"), generation, &now) {
        let patch = json!({"status": status});
        api.patch_status(NAME, &PatchParams::default(), &Patch::Merge(patch)).await?;
    }
    Ok(())
}

/// The status as it should be; none when it is so already.
fn status(current: Option<&Value>, generation: i64, now: &str) -> Option<Value> {
    let features: Vec<Value> = FEATURES.iter().map(|name| json!({"name": name})).collect();
    let before = current.and_then(|status| status["conditions"].as_array()).into_iter().flatten();
    let before = before.clone().find(|it| it["type"] == "Accepted" && it["status"] == "True");
    let time = before.and_then(|it| it["lastTransitionTime"].as_str()).unwrap_or(now);
    let wanted = json!({
        "conditions": [{
            "type": "Accepted",
            "status": "True",
            "reason": "Accepted",
            "message": "the mesh is in force",
            "observedGeneration": generation,
            "lastTransitionTime": time,
        }],
        "supportedFeatures": features,
    });
    (current != Some(&wanted)).then_some(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_in_order_and_written_once() {
        assert!(FEATURES.is_sorted());
        let first = status(None, 1, "2026-01-01T00:00:00Z").unwrap();
        assert_eq!(status(Some(&first), 1, "2026-02-02T00:00:00Z"), None);
        assert!(status(Some(&first), 2, "2026-02-02T00:00:00Z").is_some());
    }
}
