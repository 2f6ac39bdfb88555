//! Sidecars: whether they are ready, of which version, and whether they know what the control plane knows.

use std::collections::BTreeMap;

use http::Method;
use serde_json::Value;

use super::control_plane::Plane;
use super::{Check, protocols, some};
use crate::admin::{PROXY_PORT, Place};
use crate::cluster::Cluster;
use crate::cluster::pod::Pod;
use crate::install::{INJECT_LABEL, VERSION, Version};

/// Sidecars that are asked themselves why they are not ready; more would say the same.
const ASKED: usize = 5;
/// Namespaces whose pods never get sidecars.
const SYSTEM: [&str; 4] = ["kube-system", "kube-public", "kube-node-lease", crate::install::NAMESPACE];

pub(super) async fn check(cluster: &Cluster, plane: &Plane) -> Vec<Check> {
    let pods = match cluster.list("/api/v1/pods", "").await {
        Ok(pods) => pods,
        Err(trouble) => return vec![Check::trouble("proxies", "pods", &trouble)],
    };
    let enabled =
        cluster.list("/api/v1/namespaces", &format!("{INJECT_LABEL}=enabled")).await.unwrap_or_default();
    let enabled: Vec<&str> = enabled.iter().filter_map(|it| it["metadata"]["name"].as_str()).collect();
    let live: Vec<Pod<'_>> = pods.iter().map(Pod).filter(|pod| !pod.is_over()).collect();
    let meshed: Vec<Pod<'_>> = live.iter().copied().filter(|pod| pod.is_meshed()).collect();
    let clients = clients(cluster, plane).await;
    let unready = meshed.iter().filter(|pod| !pod.is_proxy_ready());
    let mut reasons = BTreeMap::new();
    for pod in unready.take(ASKED) {
        reasons.insert(pod.title(), reason(cluster, *pod).await);
    }
    vec![
        judge_ready(&meshed, &reasons),
        judge_versions(&meshed),
        match clients {
            Ok(clients) => judge_synced(&meshed, &clients),
            Err(error) => Check::warning(
                "proxies-synced",
                "sync with the control plane",
                format!("can't tell: {}", crate::exit::told(&error)),
                "it takes `create` and `get` of pods/portforward in namespace weft-system",
            ),
        },
        judge_without(&live, &enabled),
        match cluster.list("/api/v1/services", "").await {
            Ok(services) => protocols::judge(&meshed, &services),
            Err(trouble) => Check::trouble("protocols", "Services", &trouble),
        },
    ]
}

/// The discovery streams of all replicas: who has one, and how it goes.
async fn clients(cluster: &Cluster, plane: &Plane) -> anyhow::Result<Vec<Value>> {
    let mut streams = Vec::new();
    for place in plane.admins(cluster) {
        let mut said = place.open().await?.json("/clients").await?;
        if let Value::Array(found) = said["streams"].take() {
            streams.extend(found);
        }
    }
    Ok(streams)
}

/// Why a sidecar is not ready, by its own words or the kubelet's.
async fn reason(cluster: &Cluster, pod: Pod<'_>) -> String {
    let status = pod.proxy_status();
    let waiting = status.and_then(|status| status["state"]["waiting"]["reason"].as_str());
    if let Some(reason) = waiting {
        return reason.to_owned();
    }
    let place = Place::Pod {
        cluster: cluster.clone(),
        namespace: pod.namespace().to_owned(),
        name: pod.name().to_owned(),
        port: PROXY_PORT,
    };
    let asked = async { place.open().await?.ask(Method::GET, "/ready").await };
    match asked.await {
        Ok(answer) => answer.text.lines().skip(1).collect::<Vec<_>>().join("; "),
        Err(_) => pod.not_running().unwrap_or_else(|| "its proxy does not answer".to_owned()),
    }
}

fn judge_ready(meshed: &[Pod<'_>], reasons: &BTreeMap<String, String>) -> Check {
    let (id, about) = ("proxies-ready", "sidecars");
    let unready: Vec<String> = meshed
        .iter()
        .filter(|pod| !pod.is_proxy_ready())
        .map(|pod| match reasons.get(&pod.title()).filter(|reason| !reason.is_empty()) {
            Some(reason) => format!("{} ({reason})", pod.title()),
            None => pod.title(),
        })
        .collect();
    if unready.is_empty() {
        return Check::ok(id, about, format!("{0} of {0} are ready", meshed.len()));
    }
    let hint = "weft get all POD.NAMESPACE says what it waits for, weft logs POD.NAMESPACE why";
    Check::failure(
        id,
        about,
        format!("{} of {} are not ready: {}", unready.len(), meshed.len(), some(&unready)),
        hint,
    )
}

fn judge_versions(meshed: &[Pod<'_>]) -> Check {
    let (id, about) = ("proxies-version", "sidecars' versions");
    let mut versions: BTreeMap<String, Vec<Pod<'_>>> = BTreeMap::new();
    for pod in meshed {
        versions.entry(pod.proxy_version()).or_default().push(*pod);
    }
    versions.remove(VERSION);
    if versions.is_empty() {
        return Check::ok(id, about, format!("all are of version {VERSION}"));
    }
    let works = |version: &String| version.parse().is_ok_and(|proxy| Version::own().works_with_proxy(proxy));
    let told: Vec<String> =
        versions.iter().map(|(version, pods)| format!("{} of {version}", pods.len())).collect();
    let mut owners: Vec<String> = versions
        .values()
        .flatten()
        .map(|pod| format!("kubectl -n {} rollout restart {}", pod.namespace(), pod.owner()))
        .collect();
    owners.sort();
    owners.dedup();
    let (found, hint) = (format!("{}, and this command is {VERSION}", some(&told)), some(&owners));
    if versions.keys().all(works) {
        return Check::warning(id, about, found, hint);
    }
    Check::failure(id, about, found, hint)
}

fn judge_synced(meshed: &[Pod<'_>], clients: &[Value]) -> Check {
    let (id, about) = ("proxies-synced", "sync with the control plane");
    let ready: Vec<&Pod<'_>> = meshed.iter().filter(|pod| pod.is_proxy_ready()).collect();
    let (mut absent, mut behind, mut refused) = (Vec::new(), Vec::new(), Vec::new());
    for pod in &ready {
        let workload = pod.workload();
        let Some(stream) = clients.iter().find(|client| client["node"] == *workload) else {
            absent.push(pod.title());
            continue;
        };
        let types = stream["types"].as_array().into_iter().flatten();
        if types.clone().any(|it| it["pending"].as_u64().unwrap_or_default() > 0) {
            behind.push(pod.title());
        }
        let said = types.flat_map(|it| it["refused"].as_array().into_iter().flatten());
        refused.extend(said.filter_map(Value::as_str).map(|said| format!("{}: {said}", pod.title())));
    }
    if !refused.is_empty() {
        let hint =
            "the sidecar keeps what it had: its version may be too old for what it is told, see its log";
        return Check::failure(id, about, format!("resources are refused: {}", some(&refused)), hint);
    }
    if !absent.is_empty() {
        let hint = "they go on with what they know and come back by themselves; weft logs POD.NAMESPACE says what keeps them";
        return Check::warning(id, about, format!("not connected: {}", some(&absent)), hint);
    }
    if !behind.is_empty() {
        let hint = "run the check again: it is a matter of milliseconds unless a sidecar has no time";
        return Check::warning(id, about, format!("being told something: {}", some(&behind)), hint);
    }
    Check::ok(id, about, format!("{0} of {0} know what the control plane knows", ready.len()))
}

fn judge_without(live: &[Pod<'_>], enabled: &[&str]) -> Check {
    let (id, about) = ("no-sidecar", "pods that should have a sidecar");
    let mut without: BTreeMap<(String, String), String> = BTreeMap::new();
    let mut by_choice = 0;
    for pod in live.iter().filter(|pod| !pod.is_meshed() && !SYSTEM.contains(&pod.namespace())) {
        let label = pod.0["metadata"]["labels"][INJECT_LABEL].as_str();
        let in_enabled = enabled.contains(&pod.namespace());
        match label {
            Some("enabled") => {}
            None if in_enabled => {}
            Some(_) if in_enabled => {
                by_choice += 1;
                continue;
            }
            _ => continue,
        }
        let owner = (pod.namespace().to_owned(), pod.owner());
        without.entry(owner).or_insert_with(|| pod.why_without(in_enabled));
    }
    let by_choice =
        if by_choice > 0 { format!("; {by_choice} say that they want none") } else { String::new() };
    if without.is_empty() {
        return Check::ok(id, about, format!("all have one{by_choice}"));
    }
    let told: Vec<String> =
        without.iter().map(|((namespace, owner), why)| format!("{owner} in {namespace}: {why}")).collect();
    Check::warning(
        id,
        about,
        some(&told),
        format!("what gets none for good says so with label {INJECT_LABEL}: disabled{by_choice}"),
    )
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Outcome;
    use super::*;

    fn pod(name: &str, version: &str, ready: bool) -> Value {
        json!({
            "metadata": {"name": name, "namespace": "shop", "labels": {"mesh.weft.dev/proxy": version},
                "annotations": {"mesh.weft.dev/status": "{}"}},
            "spec": {"initContainers": [{"name": "weft-proxy"}], "containers": [{"name": "a"}]},
            "status": {"phase": "Running", "initContainerStatuses": [{"name": "weft-proxy", "ready": ready}]},
        })
    }

    #[test]
    fn sidecars_that_are_not_ready_say_what_they_wait_for() {
        let (good, bad) = (pod("a", VERSION, true), pod("b", VERSION, false));
        assert_eq!(judge_ready(&[Pod(&good)], &BTreeMap::new()).outcome, Outcome::Ok);
        let reasons = BTreeMap::from([("shop/b".to_owned(), "waiting for a certificate".to_owned())]);
        let judged = judge_ready(&[Pod(&good), Pod(&bad)], &reasons);
        assert_eq!(
            (judged.outcome, &*judged.found),
            (Outcome::Failure, "1 of 2 are not ready: shop/b (waiting for a certificate)")
        );
    }

    #[test]
    fn other_versions_are_counted_with_what_replaces_them() {
        let (own, other) = (pod("a", VERSION, true), pod("b", "9.0.0", true));
        assert_eq!(judge_versions(&[Pod(&own)]).outcome, Outcome::Ok);
        let judged = judge_versions(&[Pod(&own), Pod(&other)]);
        assert_eq!(
            (judged.outcome, &*judged.hint),
            (Outcome::Failure, "kubectl -n shop rollout restart pod/b")
        );
        assert!(judged.found.starts_with("1 of 9.0.0"));
    }

    #[test]
    fn sync_is_what_the_control_plane_says_of_each_sidecar() {
        let pods = [pod("a", VERSION, true), pod("b", VERSION, false)];
        let pods: Vec<Pod<'_>> = pods.iter().map(Pod).collect();
        let stream = |pending: u64, refused: &[&str]| json!({"node": "a.shop", "types": [{"pending": pending, "refused": refused}]});
        assert_eq!(judge_synced(&pods, &[stream(0, &[])]).outcome, Outcome::Ok);
        assert!(judge_synced(&pods, &[stream(2, &[])]).found.contains("being told something: shop/a"));
        assert!(judge_synced(&pods, &[]).found.contains("not connected: shop/a"));
        let refused = judge_synced(&pods, &[stream(0, &["reviews:80: no port"])]);
        assert_eq!(
            (refused.outcome, &*refused.found),
            (Outcome::Failure, "resources are refused: shop/a: reviews:80: no port")
        );
    }

    #[test]
    fn pods_without_a_sidecar_say_why() {
        let bare = json!({"metadata": {"name": "n", "namespace": "shop"}, "spec": {"hostNetwork": true, "containers": [{"name": "a"}]}});
        let mut chosen = bare.clone();
        chosen["metadata"]["labels"] = json!({INJECT_LABEL: "disabled"});
        assert_eq!(judge_without(&[Pod(&bare)], &[]).outcome, Outcome::Ok);
        let judged = judge_without(&[Pod(&bare), Pod(&chosen)], &["shop"]);
        assert!(
            judged.outcome == Outcome::Warning && judged.found.contains("pod/n in shop: it uses the network"),
            "{judged:?}"
        );
        assert!(judged.hint.contains("1 say that they want none"), "{judged:?}");
        assert_eq!(
            judge_without(&[Pod(&chosen)], &["shop"]).found,
            "all have one; 1 say that they want none"
        );
    }
}
