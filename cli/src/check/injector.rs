//! Whether pods get their sidecars: one is made on trial in each namespace that asks for them.

use serde_json::{Value, json};
use weft_control_plane::Settings;

use super::{Check, security, some};
use crate::cluster::pod::Pod;
use crate::cluster::{Cluster, Trouble, Try, is_forbidden};
use crate::install::{CONTROL_PLANE, INJECT_LABEL, NAMESPACE};

/// Namespaces that a pod is tried in; more would say the same, and a large cluster has many.
const TRIED: usize = 10;

pub(super) async fn check(cluster: &Cluster) -> Vec<Check> {
    let mut checks = Vec::new();
    let (settings, init) = settings(cluster).await;
    checks.push(settings);
    checks.push(security::namespaces(cluster, init).await);
    let (id, about) = ("injection", "a pod on trial");
    match cluster.list("/api/v1/namespaces", &format!("{INJECT_LABEL}=enabled")).await {
        Err(trouble) => checks.push(Check::trouble(id, about, &trouble)),
        Ok(namespaces) => {
            let names = namespaces.iter().filter(|it| it["metadata"]["deletionTimestamp"].is_null());
            let mut names: Vec<&str> =
                names.filter_map(|it| it["metadata"]["name"].as_str()).take(TRIED).collect();
            let labelled = !names.is_empty();
            if !labelled {
                // The pod asks by itself.
                names.push("default");
            }
            let mut tried = Vec::new();
            for name in names {
                tried.push((name.to_owned(), cluster.dry_run(&trial(name), Try::Create).await));
            }
            checks.push(judge(&tried, labelled));
        }
    }
    checks
}

/// What the injector is told, and whether an init container redirects by default.
async fn settings(cluster: &Cluster) -> (Check, bool) {
    let (id, about) = ("injector-settings", "settings");
    let map = match cluster.find(&format!("/api/v1/namespaces/{NAMESPACE}/configmaps/weft-settings")).await {
        Ok(Some(map)) => map,
        Ok(None) => {
            let hint = "weft upgrade | kubectl apply --server-side -f - brings it";
            return (Check::failure(id, about, "there is no ConfigMap weft-settings", hint), true);
        }
        Err(trouble) => return (Check::trouble(id, about, &trouble), true),
    };
    match Settings::parse(map["data"]["settings.yaml"].as_str().unwrap_or_default()) {
        Ok(settings) => {
            let redirect = format!("{:?}", settings.redirect).to_lowercase();
            let found = format!(
                "image {}, redirected by {redirect}, trust domain {}",
                settings.proxy_image, settings.trust_domain
            );
            (Check::ok(id, about, found), redirect == "init")
        }
        Err(error) => {
            let hint = "correct it by weft upgrade --set; until then the settings before it are in force";
            // What follows the first line shows where it is in the file.
            let found = error.to_string().lines().next().unwrap_or_default().to_owned();
            (Check::failure(id, about, found, hint), true)
        }
    }
}

/// A pod that fits in everywhere; it is never made.
fn trial(namespace: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "weft-check", "namespace": namespace, "labels": {INJECT_LABEL: "enabled"}},
        "spec": {
            "containers": [{
                "name": "check",
                "image": "weft.invalid/check",
                "resources": {"requests": {"cpu": "1m", "memory": "1Mi"}, "limits": {"cpu": "1m", "memory": "1Mi"}},
                "securityContext": {"allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}},
            }],
            "securityContext": {"runAsNonRoot": true, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}},
        },
    })
}

fn judge(tried: &[(String, Result<Value, Trouble>)], labelled: bool) -> Check {
    let (id, about) = ("injection", "a pod on trial");
    let mut good = Vec::new();
    let mut untold = Vec::new();
    for (namespace, outcome) in tried {
        match outcome {
            Ok(pod) if Pod(pod).is_meshed() => good.push(namespace.clone()),
            Ok(_) => {
                let hint = format!(
                    "its webhook did not answer and lets pods through (failurePolicy), or excludes the namespace: \
                     kubectl -n {NAMESPACE} logs deploy/{CONTROL_PLANE}"
                );
                return Check::failure(id, about, format!("in {namespace}: it would have no sidecar"), hint);
            }
            Err(trouble) if is_forbidden(trouble) => untold.push(format!("{namespace}: {trouble}")),
            Err(trouble) => {
                let said = trouble.to_string();
                let found = format!("in {namespace}: {said}");
                if said.contains("exceeded quota") {
                    untold.push(found);
                } else {
                    return Check::failure(id, about, found, hint(&said));
                }
            }
        }
    }
    if good.is_empty() {
        return Check::warning(
            id,
            about,
            format!("can't tell: {}", some(&untold)),
            "run it as somebody who may create pods",
        );
    }
    if !labelled {
        return Check::warning(
            id,
            about,
            "the injector works, and no namespace asks for sidecars",
            format!("kubectl label namespace NAMESPACE {INJECT_LABEL}=enabled, then restart its pods"),
        );
    }
    Check::ok(id, about, format!("would get its sidecar in {}", some(&good)))
}

/// What to do about a pod that is refused.
fn hint(said: &str) -> String {
    if said.contains("violates PodSecurity") {
        return "the namespace allows no init container with NET_ADMIN: redirect by the CNI plugin \
                (proxy.redirect=cni, cni.enabled=true)"
            .to_owned();
    }
    if said.contains("x509") || said.contains("certificate") {
        return "the API server does not believe the webhook: see the webhook's caBundle and certificate above".to_owned();
    }
    if said.contains("failed calling webhook") {
        return format!(
            "no pod with a sidecar can start: the API server can't reach port 15017 of Service {CONTROL_PLANE} in namespace \
             {NAMESPACE}; look at kube-proxy of the API server's node, and at what keeps API servers from pods (firewall, NetworkPolicy)"
        );
    }
    "what refuses it says so itself; it refuses pods with sidecars likewise".to_owned()
}

#[cfg(test)]
mod tests {
    use weft_control_plane::inject::{Cluster as Can, Outcome as Injected, inject};

    use super::super::Outcome;
    use super::*;

    fn injected() -> Value {
        match inject(&trial("shop"), None, &Settings::default(), Can { native_sidecars: true }) {
            Injected::Injected { pod, .. } => *pod,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_pod_that_gets_its_sidecar_is_a_good_sign() {
        let tried = [("shop".to_owned(), Ok(injected()))];
        assert_eq!(judge(&tried, true).outcome, Outcome::Ok);
        assert_eq!(judge(&tried, false).outcome, Outcome::Warning);
        let bare = judge(&[("shop".to_owned(), Ok(trial("shop")))], true);
        assert!(bare.outcome == Outcome::Failure && bare.hint.contains("failurePolicy"), "{bare:?}");
    }

    #[test]
    fn why_a_pod_is_refused_decides_what_to_do() {
        let judged = |message: &str| {
            let refused = Trouble::Refused { code: 500, message: message.to_owned() };
            judge(&[("shop".to_owned(), Err(refused))], true)
        };
        assert!(
            judged("failed calling webhook \"injector.mesh.weft.dev\": dial tcp: i/o timeout")
                .hint
                .contains("15017")
        );
        assert!(judged("failed calling webhook: x509: unknown authority").hint.contains("caBundle"));
        assert!(
            judged("pods \"weft-check\" is forbidden: violates PodSecurity \"baseline:latest\"")
                .hint
                .contains("CNI")
        );
        assert_eq!(judged("exceeded quota: pods").outcome, Outcome::Warning);
        let may_not = [("shop".to_owned(), Err(Trouble::Forbidden("cannot create pods".to_owned())))];
        assert!(judge(&may_not, true).found.starts_with("can't tell"));
    }
}
