//! The installation that a cluster has.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use super::{CONTROL_PLANE, NAMESPACE, Values, choices};
use crate::cluster::kinds::{KINDS, title};
use crate::cluster::pod::Pod;
use crate::cluster::{Cluster, Trouble, is_missing};

/// What all objects of an installation have.
const SELECTOR: &str = "app.kubernetes.io/part-of=weft";
/// What the objects have that the control plane makes.
const MADE: &str = "app.kubernetes.io/managed-by=weft-control-plane";

/// Who installed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum By {
    /// What this program prints.
    Command,
    /// A release of Helm.
    Helm(String),
}

/// The installation that a cluster has.
#[derive(Clone, Debug)]
pub(crate) struct Existing {
    /// Its version, as the control plane's Deployment says.
    pub(crate) version: String,
    /// Who installed it.
    pub(crate) by: By,
    /// What was chosen, in ConfigMap weft-install.
    choices: Option<Value>,
    /// Objects of it, in the order in which they are taken away.
    pub(crate) objects: Vec<Value>,
}

impl Existing {
    /// Reads it; none where there is no control plane and nothing else of an installation.
    pub(crate) async fn read(cluster: &Cluster) -> Result<Option<Self>, Trouble> {
        let mut objects = Vec::new();
        for kind in KINDS {
            let listed = match cluster.list(&kind.list(Some(NAMESPACE)), SELECTOR).await {
                Ok(listed) => listed,
                // The cluster does not know the kind.
                Err(trouble) if is_missing(&trouble) => continue,
                Err(trouble) => return Err(trouble),
            };
            // Items of a list don't say what they are.
            objects.extend(listed.into_iter().map(|mut object| {
                object["apiVersion"] = json!(kind.api_version);
                object["kind"] = json!(kind.name);
                object
            }));
        }
        if objects.is_empty() {
            return Ok(None);
        }
        let plane =
            objects.iter().find(|it| it["kind"] == "Deployment" && it["metadata"]["name"] == CONTROL_PLANE);
        let metadata = plane.map(|plane| plane["metadata"].clone()).unwrap_or_default();
        let text =
            |pointer: &str| metadata.pointer(pointer).and_then(Value::as_str).unwrap_or_default().to_owned();
        let by = match text("/annotations/meta.helm.sh~1release-name") {
            release if release.is_empty() => By::Command,
            release => By::Helm(release),
        };
        let choices =
            objects.iter().find(|it| it["kind"] == "ConfigMap" && it["metadata"]["name"] == choices::NAME);
        Ok(Some(Self {
            version: text("/labels/app.kubernetes.io~1version"),
            by,
            choices: choices.cloned(),
            objects,
        }))
    }

    /// The values that it was installed with, in terms of this version.
    pub(crate) fn values(&self) -> Result<Values, String> {
        match &self.choices {
            Some(map) => choices::kept(map),
            None => Err(format!(
                "it is not known with what values this installation was made: namespace {NAMESPACE} has no ConfigMap {}; \
                 say them with --reset-values and --set or --values",
                choices::NAME
            )),
        }
    }

    /// What is not among these documents any more. Definitions of kinds stay: with them, everything of their kinds would go.
    pub(crate) fn left_over(&self, wanted: &[Value]) -> Vec<Value> {
        let wanted: BTreeSet<String> = wanted.iter().map(title).collect();
        let over = self.objects.iter().filter(|object| {
            !matches!(object["kind"].as_str(), Some("CustomResourceDefinition" | "Namespace"))
                && !wanted.contains(&title(object))
        });
        over.map(named).collect()
    }

    /// Everything that goes when the mesh goes, in order; definitions of kinds only when asked for. What the control plane
    /// made goes too.
    pub(crate) async fn everything(
        &self,
        cluster: &Cluster,
        definitions: bool,
    ) -> Result<Vec<Value>, Trouble> {
        let mut going: Vec<Value> = self
            .objects
            .iter()
            .filter(|object| definitions || object["kind"] != "CustomResourceDefinition")
            .map(named)
            .collect();
        let last = going.pop_if(|object| object["kind"] == "Namespace");
        for (kind, list) in
            [("ConfigMap", "/api/v1/configmaps"), ("Secret", "/api/v1/namespaces/weft-system/secrets")]
        {
            for mut object in cluster.list(list, MADE).await? {
                object["apiVersion"] = json!("v1");
                object["kind"] = json!(kind);
                going.push(named(&object));
            }
        }
        for (api_version, kind, path, namespaced) in [
            (
                "coordination.k8s.io/v1",
                "Lease",
                "/apis/coordination.k8s.io/v1/namespaces/weft-system/leases/weft-status",
                true,
            ),
            (
                "gateway.networking.x-k8s.io/v1alpha1",
                "XMesh",
                "/apis/gateway.networking.x-k8s.io/v1alpha1/xmeshes/weft",
                false,
            ),
        ] {
            if let Some(mut object) = cluster.find(path).await? {
                object["apiVersion"] = json!(api_version);
                object["kind"] = json!(kind);
                debug_assert_eq!(object["metadata"]["namespace"].is_string(), namespaced);
                going.push(named(&object));
            }
        }
        going.extend(last);
        Ok(going)
    }
}

/// An object by its name alone, as `kubectl delete -f` wants it.
fn named(object: &Value) -> Value {
    let mut metadata = json!({ "name": object["metadata"]["name"] });
    if let Some(namespace) = object["metadata"]["namespace"].as_str() {
        metadata["namespace"] = json!(namespace);
    }
    json!({ "apiVersion": object["apiVersion"], "kind": object["kind"], "metadata": metadata })
}

/// All pods that have a sidecar and are not over.
pub(crate) async fn meshed_pods(cluster: &Cluster) -> Result<Vec<Value>, Trouble> {
    let mut pods = cluster.list("/api/v1/pods", "").await?;
    pods.retain(|pod| Pod(pod).is_meshed() && !Pod(pod).is_over());
    Ok(pods)
}
