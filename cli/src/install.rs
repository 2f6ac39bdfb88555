//! What an installation in Kubernetes is made of: documents that follow from values.
//!
//! The Helm chart in `k8s/chart` renders the same; a test compares both for many values.

#[cfg(test)]
mod chart;
mod choices;
mod diff;
mod existing;
mod overrides;
mod render;
mod values;
mod version;
pub(crate) mod yaml;

use serde_json::Value;

pub(crate) use diff::{Change, changes};
pub(crate) use existing::{By, Existing, meshed_pods};
pub(crate) use overrides::Overrides;
pub(crate) use render::documents;
pub(crate) use values::Values;
pub(crate) use version::Version;

/// The namespace of the mesh. Proxies find the control plane in it by name.
pub(crate) const NAMESPACE: &str = "weft-system";
/// Name of the control plane's Deployment, Service and `ServiceAccount`.
pub(crate) const CONTROL_PLANE: &str = "control-plane";
/// Name of the `MutatingWebhookConfiguration`.
pub(crate) const INJECTOR: &str = "weft-injector";
/// Label of namespaces and pods that says whether pods get a sidecar.
pub(crate) const INJECT_LABEL: &str = "mesh.weft.dev/inject";
/// Label of pods with a sidecar; its value is the proxy's version.
pub(crate) const PROXY_LABEL: &str = "mesh.weft.dev/proxy";
/// The version of images, labels and chart: that of this program.
pub(crate) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// The defaults of the command, for a cluster that has no namespace of the mesh yet.
pub(crate) fn defaults() -> Values {
    let mut values = Values::default();
    values.namespace.create = true;
    values
}

/// Everything that the values ask for, and what of them was chosen: by that, upgrades know it. What admits pods stays last.
pub(crate) fn manifest(values: &Values) -> Vec<Value> {
    let mut made = documents(values);
    let place = made.len().saturating_sub(1);
    made.insert(place, choices::document(values));
    made
}
