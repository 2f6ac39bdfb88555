//! What an installation in Kubernetes is made of: documents that follow from values.
//!
//! The Helm chart in `k8s/chart` renders the same; a test compares both for many values.

#[cfg(test)]
mod chart;
mod overrides;
mod render;
mod values;
pub(crate) mod yaml;

pub(crate) use overrides::Overrides;
pub(crate) use render::documents;
pub(crate) use values::Values;

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
