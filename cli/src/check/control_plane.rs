//! The control plane: whether it is there, whole, of this version, and content with what it reads.

use jiff::Timestamp;
use serde_json::Value;
use weft_resource::custom_resource_definitions;

use super::{Check, some};
use crate::admin::{CONTROL_PLANE_PORT, Place};
use crate::cluster::Cluster;
use crate::cluster::pod::Pod;
use crate::install::{By, CONTROL_PLANE, Existing, NAMESPACE, VERSION, Version};

/// What selects the control plane's pods.
const SELECTOR: &str = "app.kubernetes.io/name=control-plane,app.kubernetes.io/part-of=weft";
/// Time after which a holder that has not renewed the Lease has lost it, twice over, in seconds.
const LEASE: i64 = 30;

/// What others ask the control plane's pods.
pub(super) struct Plane {
    /// Its pods that run.
    pub(super) pods: Vec<Value>,
}

impl Plane {
    /// The admin server of each pod.
    pub(super) fn admins<'a>(&'a self, cluster: &'a Cluster) -> impl Iterator<Item = Place> + 'a {
        self.pods.iter().map(|pod| Place::Pod {
            cluster: cluster.clone(),
            namespace: NAMESPACE.to_owned(),
            name: Pod(pod).name().to_owned(),
            port: CONTROL_PLANE_PORT,
        })
    }
}

/// What was installed before.
pub(super) async fn previous(cluster: &Cluster) -> Check {
    let (id, about) = ("previous", "earlier installation");
    match Existing::read(cluster).await {
        Ok(None) => Check::ok(id, about, "there is none"),
        Ok(Some(existing)) if existing.version == VERSION => {
            Check::ok(id, about, format!("version {VERSION}, this command's, is installed"))
        }
        Ok(Some(existing)) => {
            let found = format!("version {} is installed", existing.version);
            let hint = match &existing.by {
                By::Helm(release) => format!("helm upgrade {release} k8s/chart --namespace {NAMESPACE}"),
                By::Command => {
                    "weft upgrade keeps the values that it was installed with, and names what has to go"
                        .to_owned()
                }
            };
            Check::warning(id, about, found, hint)
        }
        Err(trouble) => Check::trouble(id, about, &trouble),
    }
}

/// The control plane; the first check fails where there is none.
pub(super) async fn check(cluster: &Cluster) -> (Vec<Check>, Plane) {
    let mut plane = Plane { pods: Vec::new() };
    let path = format!("/apis/apps/v1/namespaces/{NAMESPACE}/deployments/{CONTROL_PLANE}");
    let deployment = match cluster.find(&path).await {
        Ok(Some(deployment)) => deployment,
        Ok(None) => {
            let hint = "weft check --pre, then weft install | kubectl apply --server-side -f -";
            let missing = Check::failure("installed", "installation", "Weft is not in this cluster", hint);
            return (vec![missing], plane);
        }
        Err(trouble) => return (vec![Check::trouble("installed", "installation", &trouble)], plane),
    };
    let mut checks = vec![judge_version(&deployment)];
    match cluster.list(&format!("/api/v1/namespaces/{NAMESPACE}/pods"), SELECTOR).await {
        Ok(pods) => {
            checks.push(judge_ready(&deployment, &pods));
            plane.pods = pods.into_iter().filter(|pod| Pod(pod).not_running().is_none()).collect();
            checks.push(judge_pods(&deployment, &plane.pods));
        }
        Err(trouble) => checks.push(Check::trouble("control-plane-ready", "pods", &trouble)),
    }
    checks.push(endpoints(cluster, &plane).await);
    checks.push(definitions(cluster).await);
    checks.push(lease(cluster, &plane).await);
    (checks, plane)
}

fn version_of(object: &Value) -> &str {
    object["metadata"]["labels"]["app.kubernetes.io/version"].as_str().unwrap_or_default()
}

fn judge_version(deployment: &Value) -> Check {
    let (id, about, installed) = ("installed", "installation", version_of(deployment));
    if installed == VERSION {
        return Check::ok(id, about, format!("version {installed}, this command's"));
    }
    let found = format!("version {installed}, and this command is {VERSION}");
    let hint = match installed.parse::<Version>() {
        Ok(version) if version > Version::own() => format!("use a command of version {version}"),
        _ => "weft upgrade --diff, then weft upgrade | kubectl apply --server-side -f -".to_owned(),
    };
    Check::warning(id, about, found, hint)
}

fn judge_ready(deployment: &Value, pods: &[Value]) -> Check {
    let (id, about) = ("control-plane-ready", "replicas");
    let number = |pointer: &str| deployment.pointer(pointer).and_then(Value::as_u64).unwrap_or_default();
    let (wanted, ready) = (number("/spec/replicas"), number("/status/readyReplicas"));
    let updated = number("/status/updatedReplicas");
    if ready >= wanted && ready > 0 && updated >= wanted {
        return Check::ok(id, about, format!("{ready} of {wanted} ready"));
    }
    if wanted == 0 {
        let hint = format!("kubectl -n {NAMESPACE} scale deploy/{CONTROL_PLANE} --replicas=2");
        return Check::failure(id, about, "it is scaled to 0", hint);
    }
    let reasons: Vec<String> = pods.iter().filter_map(waits).collect();
    let reasons = if reasons.is_empty() { String::new() } else { format!(": {}", some(&reasons)) };
    let found = format!("{ready} of {wanted} ready, {updated} of the version that is asked for{reasons}");
    let hint =
        format!("kubectl -n {NAMESPACE} get events, and kubectl -n {NAMESPACE} logs deploy/{CONTROL_PLANE}");
    // The others serve while one is replaced.
    if ready > 0 { Check::warning(id, about, found, hint) } else { Check::failure(id, about, found, hint) }
}

/// Why a pod is not ready.
fn waits(pod: &Value) -> Option<String> {
    let conditions = pod["status"]["conditions"].as_array().into_iter().flatten();
    let ready = conditions.clone().any(|it| it["type"] == "Ready" && it["status"] == "True");
    if ready {
        return None;
    }
    let statuses = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let waiting = statuses.clone().find_map(|status| text(&status["state"]["waiting"]["reason"]));
    let scheduled = conditions.clone().find(|it| it["type"] == "PodScheduled" && it["status"] == "False");
    let reason = waiting.or_else(|| scheduled.and_then(|it| text(&it["message"])));
    Some(format!("{}: {}", Pod(pod).name(), reason.unwrap_or_else(|| "not ready".to_owned())))
}

fn judge_pods(deployment: &Value, pods: &[Value]) -> Check {
    let (id, about) = ("control-plane-pods", "pods");
    let wanted = version_of(deployment);
    let other: Vec<String> = pods
        .iter()
        .filter(|pod| version_of(pod) != wanted)
        .map(|pod| format!("{} of {}", Pod(pod).name(), version_of(pod)))
        .collect();
    if !other.is_empty() {
        let hint = format!("kubectl -n {NAMESPACE} rollout status deploy/{CONTROL_PLANE}");
        return Check::warning(id, about, format!("not of version {wanted}: {}", some(&other)), hint);
    }
    let restarts = |pod: &Value| {
        let statuses = pod["status"]["containerStatuses"].as_array().into_iter().flatten();
        statuses.filter_map(|status| status["restartCount"].as_u64()).sum::<u64>()
    };
    let restarted: Vec<String> = pods
        .iter()
        .map(|pod| (pod, restarts(pod)))
        .filter(|(_, count)| *count > 0)
        .map(|(pod, count)| format!("{} {count} times", Pod(pod).name()))
        .collect();
    if !restarted.is_empty() {
        let hint = format!("kubectl -n {NAMESPACE} logs --previous deploy/{CONTROL_PLANE} says why");
        return Check::warning(id, about, format!("restarted: {}", some(&restarted)), hint);
    }
    Check::ok(id, about, format!("{0} of {0} of version {wanted}, never restarted", pods.len()))
}

async fn endpoints(cluster: &Cluster, plane: &Plane) -> Check {
    let (id, about) = ("control-plane-endpoints", "Service");
    let path = format!("/apis/discovery.k8s.io/v1/namespaces/{NAMESPACE}/endpointslices");
    match cluster.list(&path, &format!("kubernetes.io/service-name={CONTROL_PLANE}")).await {
        Ok(slices) => judge_endpoints(&slices, &plane.pods),
        Err(trouble) => Check::trouble(id, about, &trouble),
    }
}

/// Whether the Service leads to the pods that there are.
fn judge_endpoints(slices: &[Value], pods: &[Value]) -> Check {
    let (id, about) = ("control-plane-endpoints", "Service");
    let endpoints = slices.iter().flat_map(|slice| slice["endpoints"].as_array().into_iter().flatten());
    let ready = endpoints.filter(|endpoint| endpoint["conditions"]["ready"] != false);
    let addresses: Vec<&str> = ready
        .flat_map(|it| it["addresses"].as_array().into_iter().flatten())
        .filter_map(Value::as_str)
        .collect();
    let own = |address: &&&str| pods.iter().any(|pod| pod["status"]["podIP"] == ***address);
    let strange: Vec<String> =
        addresses.iter().filter(|address| !own(address)).map(ToString::to_string).collect();
    let hint = format!(
        "kubectl -n {NAMESPACE} get endpointslices,pods -o wide, and whether kube-controller-manager runs"
    );
    if addresses.is_empty() {
        return Check::failure(
            id,
            about,
            "leads to no pod that is ready: no sidecar reaches the control plane",
            hint,
        );
    }
    if !strange.is_empty() {
        let found = format!("leads to addresses of no pod of the control plane: {}", some(&strange));
        return Check::failure(id, about, found, hint);
    }
    Check::ok(id, about, format!("leads to {}", addresses.join(", ")))
}

async fn definitions(cluster: &Cluster) -> Check {
    let (id, about) = ("definitions", "kinds of Weft");
    let mut found = Vec::new();
    for (_, wanted) in custom_resource_definitions() {
        let name = wanted["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let path = format!("/apis/apiextensions.k8s.io/v1/customresourcedefinitions/{name}");
        match cluster.find(&path).await {
            Ok(definition) => found.push((name, definition)),
            Err(trouble) => return Check::trouble(id, about, &trouble),
        }
    }
    judge_definitions(&found)
}

fn judge_definitions(found: &[(String, Option<Value>)]) -> Check {
    let (id, about) = ("definitions", "kinds of Weft");
    let missing: Vec<String> =
        found.iter().filter(|(_, it)| it.is_none()).map(|(name, _)| name.clone()).collect();
    if !missing.is_empty() {
        let hint = "weft upgrade | kubectl apply --server-side -f -, or install with crds.install=true";
        return Check::failure(id, about, format!("missing: {}", some(&missing)), hint);
    }
    let other: Vec<String> = found
        .iter()
        .filter_map(|(name, it)| it.as_ref().map(|it| (name, version_of(it))))
        .filter(|(_, version)| *version != VERSION)
        .map(|(name, version)| format!("{name} of {version}"))
        .collect();
    if !other.is_empty() {
        let hint = "weft upgrade | kubectl apply --server-side -f - brings those of this version";
        return Check::warning(id, about, format!("not of version {VERSION}: {}", some(&other)), hint);
    }
    Check::ok(id, about, format!("{0} of {0} of version {VERSION}", found.len()))
}

async fn lease(cluster: &Cluster, plane: &Plane) -> Check {
    let (id, about) = ("status-lease", "who writes status");
    match cluster
        .find(&format!("/apis/coordination.k8s.io/v1/namespaces/{NAMESPACE}/leases/weft-status"))
        .await
    {
        Ok(lease) => judge_lease(lease.as_ref(), plane, Timestamp::now()),
        Err(trouble) => Check::trouble(id, about, &trouble),
    }
}

fn judge_lease(lease: Option<&Value>, plane: &Plane, now: Timestamp) -> Check {
    let (id, about) = ("status-lease", "who writes status");
    let hint =
        format!("kubectl -n {NAMESPACE} logs deploy/{CONTROL_PLANE}; routes are in force all the same");
    let Some(lease) = lease else {
        return Check::warning(id, about, "nobody has ever written the status of routes", hint);
    };
    let holder = lease["spec"]["holderIdentity"].as_str().unwrap_or_default();
    let renewed = lease["spec"]["renewTime"].as_str().and_then(|time| time.parse::<Timestamp>().ok());
    let age = renewed.map_or(i64::MAX, |renewed| now.duration_since(renewed).as_secs());
    if age > LEASE {
        return Check::warning(
            id,
            about,
            format!("{holder} has not renewed the Lease weft-status for {age} s"),
            hint,
        );
    }
    if !plane.pods.iter().any(|pod| holder.starts_with(Pod(pod).name())) {
        let found =
            format!("{holder} holds the Lease weft-status and is no pod of the control plane that runs");
        return Check::warning(id, about, found, "another one takes it within 15 s; run the check again");
    }
    Check::ok(id, about, holder)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::Outcome;
    use super::*;

    fn deployment(ready: u64) -> Value {
        json!({
            "metadata": {"labels": {"app.kubernetes.io/version": VERSION}},
            "spec": {"replicas": 2},
            "status": {"readyReplicas": ready, "updatedReplicas": 2},
        })
    }

    fn pod(name: &str, version: &str, restarts: u64) -> Value {
        json!({
            "metadata": {"name": name, "labels": {"app.kubernetes.io/version": version}},
            "status": {"phase": "Running", "containerStatuses": [{"restartCount": restarts}],
                "conditions": [{"type": "Ready", "status": "True"}]},
        })
    }

    #[test]
    fn replicas_that_are_missing_say_why() {
        assert_eq!(judge_ready(&deployment(2), &[]).outcome, Outcome::Ok);
        assert_eq!(judge_ready(&deployment(1), &[]).outcome, Outcome::Warning);
        let waiting = json!({"metadata": {"name": "a"}, "status": {"containerStatuses": [{"state": {"waiting": {"reason": "ImagePullBackOff"}}}]}});
        let none = judge_ready(&deployment(0), &[waiting]);
        assert_eq!(none.outcome, Outcome::Failure);
        assert!(none.found.ends_with(": a: ImagePullBackOff"), "{none:?}");
        let mut scaled = deployment(0);
        scaled["spec"]["replicas"] = json!(0);
        assert!(judge_ready(&scaled, &[]).hint.contains("--replicas=2"));
    }

    #[test]
    fn a_service_that_leads_nowhere_or_elsewhere_is_noticed() {
        let pods = [json!({"status": {"podIP": "10.0.0.7"}})];
        let slice = |address: &str, ready: bool| json!({"endpoints": [{"addresses": [address], "conditions": {"ready": ready}}]});
        assert_eq!(judge_endpoints(&[slice("10.0.0.7", true)], &pods).outcome, Outcome::Ok);
        assert!(judge_endpoints(&[slice("10.0.0.7", false)], &pods).found.contains("no pod that is ready"));
        assert!(judge_endpoints(&[slice("10.0.0.9", true)], &pods).found.ends_with(": 10.0.0.9"));
    }

    #[test]
    fn another_version_is_named_with_the_way() {
        assert_eq!(judge_version(&deployment(2)).outcome, Outcome::Ok);
        let version = |version: &str| json!({"metadata": {"labels": {"app.kubernetes.io/version": version}}});
        assert!(judge_version(&version("0.0.9")).hint.contains("weft upgrade"));
        assert!(judge_version(&version("99.0.0")).hint.contains("command of version 99.0.0"));
        assert_eq!(judge_pods(&deployment(2), &[pod("a", VERSION, 0)]).outcome, Outcome::Ok);
        assert!(judge_pods(&deployment(2), &[pod("a", "0.0.9", 0)]).found.contains("a of 0.0.9"));
        assert!(judge_pods(&deployment(2), &[pod("a", VERSION, 3)]).found.contains("a 3 times"));
    }

    #[test]
    fn definitions_that_are_missing_or_old_are_named() {
        let of =
            |version: &str| Some(json!({"metadata": {"labels": {"app.kubernetes.io/version": version}}}));
        let judge =
            |definition: Option<Value>| judge_definitions(&[("a.mesh.weft.dev".to_owned(), definition)]);
        assert_eq!(judge(of(VERSION)).outcome, Outcome::Ok);
        assert_eq!(judge(of("0.0.9")).outcome, Outcome::Warning);
        assert_eq!(judge(None).outcome, Outcome::Failure);
    }

    #[test]
    fn a_lease_that_nobody_renews_is_noticed() {
        let plane = Plane { pods: vec![pod("control-plane-1", VERSION, 0)] };
        let now: Timestamp = "2026-11-25T10:00:00Z".parse().unwrap();
        let lease = |holder: &str, time: &str| json!({"spec": {"holderIdentity": holder, "renewTime": time}});
        let judge = |lease: Value| judge_lease(Some(&lease), &plane, now).outcome;
        assert_eq!(judge(lease("control-plane-1-00ff", "2026-11-25T09:59:55.5Z")), Outcome::Ok);
        assert_eq!(judge(lease("control-plane-1-00ff", "2026-11-25T09:59:00Z")), Outcome::Warning);
        assert_eq!(judge(lease("control-plane-0-00ff", "2026-11-25T09:59:55Z")), Outcome::Warning);
        assert_eq!(judge_lease(None, &plane, now).outcome, Outcome::Warning);
    }
}
