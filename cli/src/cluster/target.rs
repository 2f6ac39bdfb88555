//! Which pods are meant.

use std::fmt;
use std::str::FromStr;

use anyhow::{anyhow, bail};
use serde_json::Value;

use super::pod::Pod;
use super::{Cluster, is_missing};

/// Pods that are named on the command line: `POD`, `POD.NAMESPACE`, `deploy/NAME` and the like.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    kind: Kind,
    name: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Pod,
    Deployment,
    StatefulSet,
    DaemonSet,
    ReplicaSet,
    Job,
    Namespace,
}

impl Kind {
    const ALL: [(Self, &'static str, &'static [&'static str]); 7] = [
        (Self::Pod, "pods", &["pod", "pods", "po"]),
        (Self::Deployment, "deployments", &["deploy", "deployment", "deployments"]),
        (Self::StatefulSet, "statefulsets", &["sts", "statefulset", "statefulsets"]),
        (Self::DaemonSet, "daemonsets", &["ds", "daemonset", "daemonsets"]),
        (Self::ReplicaSet, "replicasets", &["rs", "replicaset", "replicasets"]),
        (Self::Job, "jobs", &["job", "jobs"]),
        (Self::Namespace, "namespaces", &["ns", "namespace", "namespaces"]),
    ];

    fn row(self) -> (&'static str, &'static [&'static str]) {
        let row = Self::ALL.into_iter().find(|(kind, _, _)| *kind == self);
        row.map_or(("pods", &["pod"]), |(_, plural, names)| (plural, names))
    }

    fn short(self) -> &'static str {
        self.row().1.first().copied().unwrap_or_default()
    }
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (kind, name) = match text.split_once('/') {
            None => (Kind::Pod, text),
            Some((kind, name)) => {
                let known = Kind::ALL.into_iter().find(|(_, _, names)| names.contains(&kind));
                let (known, _, _) = known.ok_or_else(|| {
                    let names: Vec<_> = Kind::ALL.into_iter().map(|(kind, _, _)| kind.short()).collect();
                    format!("{kind:?} is no kind with pods; write {}", names.join(", "))
                })?;
                (known, name)
            }
        };
        if name.is_empty() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-.".contains(&byte))
        {
            return Err(format!("{name:?} is no name; write POD, POD.NAMESPACE or deploy/NAME"));
        }
        Ok(Self { kind, name: name.to_owned() })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.kind {
            Kind::Pod => write!(f, "pod {}", self.name),
            kind => write!(f, "{}/{}", kind.short(), self.name),
        }
    }
}

impl Target {
    /// Name and namespace: `POD.NAMESPACE` says both unless a namespace is given beside it.
    fn place<'a>(&'a self, namespace: Option<&'a str>, default: &'a str) -> (&'a str, &'a str) {
        match (self.kind, namespace, self.name.rsplit_once('.')) {
            (Kind::Namespace, _, _) => (&self.name, &self.name),
            (_, Some(namespace), _) => (&self.name, namespace),
            (Kind::Pod, None, Some((name, namespace))) => (name, namespace),
            (_, None, _) => (&self.name, default),
        }
    }

    /// The namespace all of whose pods are meant.
    pub(crate) fn whole_namespace(&self) -> Option<&str> {
        (self.kind == Kind::Namespace).then_some(&*self.name)
    }

    /// The pods that are meant, at least one.
    pub(crate) async fn pods(
        &self,
        cluster: &Cluster,
        namespace: Option<&str>,
    ) -> anyhow::Result<Vec<Value>> {
        let (name, namespace) = self.place(namespace, cluster.default_namespace());
        let pods = format!("/api/v1/namespaces/{namespace}/pods");
        if self.kind == Kind::Pod {
            return match cluster.get(&format!("{pods}/{name}")).await {
                Ok(pod) => Ok(vec![pod]),
                Err(trouble) if is_missing(&trouble) => Err(no_pod(cluster, name, namespace).await),
                Err(trouble) => Err(trouble.into()),
            };
        }
        let selector = match self.kind {
            Kind::Namespace => String::new(),
            kind => self.selector(cluster, kind, name, namespace).await?,
        };
        let mut found = cluster.list(&pods, &selector).await?;
        found.retain(|pod| !Pod(pod).is_over());
        if found.is_empty() {
            bail!("{self} in namespace {namespace} has no pods that run; scale it up, or look at its events");
        }
        Ok(found)
    }

    /// The one pod to ask, of several the first that runs with a sidecar, and how many there are.
    pub(crate) async fn pod(
        &self,
        cluster: &Cluster,
        namespace: Option<&str>,
    ) -> anyhow::Result<(Value, usize)> {
        if self.kind == Kind::Namespace {
            bail!("{self} is a namespace; name one pod, or deploy/NAME");
        }
        let mut pods = self.pods(cluster, namespace).await?;
        let count = pods.len();
        let best = pods.iter().position(|pod| Pod(pod).is_meshed() && Pod(pod).not_running().is_none());
        let pod = pods.swap_remove(best.unwrap_or_default());
        check(cluster, Pod(&pod)).await?;
        Ok((pod, count))
    }

    async fn selector(
        &self,
        cluster: &Cluster,
        kind: Kind,
        name: &str,
        namespace: &str,
    ) -> anyhow::Result<String> {
        let group = if kind == Kind::Job { "batch" } else { "apps" };
        let list = format!("/apis/{group}/v1/namespaces/{namespace}/{}", kind.row().0);
        let owner = cluster.find(&format!("{list}/{name}")).await?;
        let Some(owner) = owner else {
            let others = cluster.list(&list, "").await.unwrap_or_default();
            bail!(
                "there is no {self} in namespace {namespace}; {}",
                names(&others, "choose another with -n NAMESPACE")
            );
        };
        Ok(selector(&owner["spec"]["selector"]))
    }
}

/// A label selector as it is written in a query.
fn selector(selector: &Value) -> String {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let labels = selector["matchLabels"].as_object().into_iter().flatten();
    let mut parts: Vec<String> = labels.map(|(name, value)| format!("{name}={}", text(value))).collect();
    for expression in selector["matchExpressions"].as_array().into_iter().flatten() {
        let key = text(&expression["key"]);
        let values = expression["values"].as_array().into_iter().flatten().map(text);
        let values = values.collect::<Vec<_>>().join(",");
        parts.push(match expression["operator"].as_str().unwrap_or_default() {
            "In" => format!("{key} in ({values})"),
            "NotIn" => format!("{key} notin ({values})"),
            "DoesNotExist" => format!("!{key}"),
            _ => key,
        });
    }
    parts.join(",")
}

/// Says that there is no such pod, and which the caller may have meant.
async fn no_pod(cluster: &Cluster, name: &str, namespace: &str) -> anyhow::Error {
    let there = cluster.list(&format!("/api/v1/namespaces/{namespace}/pods"), "").await.unwrap_or_default();
    let owner = there
        .iter()
        .map(|pod| Pod(pod).owner())
        .find(|owner| owner.split_once('/').is_some_and(|(_, owner)| owner == name));
    match owner {
        Some(owner) => {
            anyhow!("there is no pod {name} in namespace {namespace}; write {owner} for the pods of that")
        }
        None => anyhow!(
            "there is no pod {name} in namespace {namespace}; {}",
            names(&there, "choose another with -n NAMESPACE or POD.NAMESPACE")
        ),
    }
}

/// Most names that help to find the right one.
const NAMES: usize = 8;

fn names(objects: &[Value], otherwise: &str) -> String {
    if objects.is_empty() {
        return format!("it has none: {otherwise}");
    }
    let shown: Vec<_> = objects.iter().map(|object| Pod(object).name()).take(NAMES).collect();
    let more = objects.len().saturating_sub(NAMES);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    format!("there are {}{more}", shown.join(", "))
}

/// Whether a pod's sidecar can be asked.
pub(crate) async fn check(cluster: &Cluster, pod: Pod<'_>) -> anyhow::Result<()> {
    let (name, namespace) = (pod.name(), pod.namespace());
    if !pod.is_meshed() {
        let path = format!("/api/v1/namespaces/{namespace}");
        let labels = cluster.get(&path).await.ok();
        let enabled = labels.is_some_and(|it| it["metadata"]["labels"]["mesh.weft.dev/inject"] == "enabled");
        bail!("pod {name} in namespace {namespace} has no sidecar: {}", pod.why_without(enabled));
    }
    if let Some(state) = pod.not_running() {
        bail!(
            "pod {name} in namespace {namespace} {state}: its sidecar can be asked while it runs; \
             kubectl -n {namespace} describe pod {name} says more"
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests;
