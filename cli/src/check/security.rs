//! Pod Security: what namespaces allow, and what sidecars need (Kubernetes, Pod Security Standards).

use serde_json::Value;

use super::{Check, some};
use crate::cluster::Cluster;
use crate::install::{INJECT_LABEL, NAMESPACE, Values};

/// Label of the level that is enforced.
const ENFORCE: &str = "pod-security.kubernetes.io/enforce";

/// Whether an installation with these values fits into what namespaces allow.
pub(super) async fn before(cluster: &Cluster, values: &Values) -> Vec<Check> {
    let init = serde_json::to_value(values.proxy.redirect).is_ok_and(|redirect| redirect == "init");
    let own = match cluster.find(&format!("/api/v1/namespaces/{NAMESPACE}")).await {
        Ok(namespace) => judge_own(namespace.as_ref(), values.cni.enabled),
        Err(trouble) => Check::trouble("pod-security-own", NAMESPACE, &trouble),
    };
    vec![own, namespaces(cluster, init).await]
}

/// Whether pods of namespaces that ask for sidecars may have them; `init` says that an init container redirects.
pub(super) async fn namespaces(cluster: &Cluster, init: bool) -> Check {
    match cluster.list("/api/v1/namespaces", &format!("{INJECT_LABEL}=enabled")).await {
        Ok(namespaces) => judge_namespaces(&namespaces, init),
        Err(trouble) => Check::trouble("pod-security", "namespaces with sidecars", &trouble),
    }
}

fn level(namespace: &Value) -> &str {
    namespace["metadata"]["labels"][ENFORCE].as_str().unwrap_or("privileged")
}

fn judge_own(namespace: Option<&Value>, cni: bool) -> Check {
    let (id, about) = ("pod-security-own", NAMESPACE);
    let Some(namespace) = namespace else {
        return Check::ok(id, about, "is not there yet; the installation makes it");
    };
    let level = level(namespace);
    if cni && level != "privileged" {
        return Check::failure(
            id,
            about,
            format!("allows pods of level {level}, and the CNI plugin writes to its node"),
            format!("kubectl label --overwrite namespace {NAMESPACE} {ENFORCE}=privileged"),
        );
    }
    Check::ok(id, about, format!("allows pods of level {level}"))
}

fn judge_namespaces(namespaces: &[Value], init: bool) -> Check {
    let (id, about) = ("pod-security", "namespaces with sidecars");
    let name = |namespace: &Value| namespace["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    let narrow = namespaces.iter().filter(|namespace| init && level(namespace) != "privileged");
    let narrow: Vec<String> =
        narrow.map(|namespace| format!("{} ({})", name(namespace), level(namespace))).collect();
    if narrow.is_empty() {
        return Check::ok(id, about, format!("{0} of {0} allow what a sidecar needs", namespaces.len()));
    }
    Check::failure(
        id,
        about,
        format!(
            "these allow no init container with NET_ADMIN, by which connections are redirected: {}",
            some(&narrow)
        ),
        "redirect by the CNI plugin (--set proxy.redirect=cni --set cni.enabled=true), or not at all (proxy.redirect=none)",
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Outcome;
    use super::*;

    fn namespace(name: &str, level: &str) -> Value {
        json!({"metadata": {"name": name, "labels": {ENFORCE: level}}})
    }

    #[test]
    fn namespaces_that_are_too_narrow_for_redirection_are_named() {
        let both = [namespace("shop", "restricted"), json!({"metadata": {"name": "bank"}})];
        let init = judge_namespaces(&both, true);
        assert_eq!(init.outcome, Outcome::Failure);
        assert!(
            init.found.ends_with("shop (restricted)") && init.hint.contains("cni.enabled=true"),
            "{init:?}"
        );
        assert_eq!(judge_namespaces(&both, false).outcome, Outcome::Ok);
    }

    #[test]
    fn the_cni_plugin_wants_a_namespace_that_lets_it() {
        assert_eq!(judge_own(None, true).outcome, Outcome::Ok);
        assert_eq!(judge_own(Some(&namespace("weft-system", "restricted")), false).outcome, Outcome::Ok);
        let narrow = judge_own(Some(&namespace("weft-system", "restricted")), true);
        assert!(narrow.outcome == Outcome::Failure && narrow.hint.contains("=privileged"));
    }
}
