//! The authority's Secret, spoilt or lost.

use std::time::Duration;

use k8s_openapi::ByteString;
use serde_json::{Value, json};
use weft_cluster_tests::{Cluster, Namespace};
use weft_identity::CaMaterial;

use crate::world::{Attempts, control_planes};

/// Time without a change that is taken for peace.
const QUIET: Duration = Duration::from_secs(12);

/// Puts the Secret of the authority back as it was, however the test ends.
struct Restored<'a> {
    cluster: &'a Cluster,
    secret: Value,
    replicas: String,
}

impl<'a> Restored<'a> {
    fn of(cluster: &'a Cluster) -> Self {
        let mut secret = object(cluster, "secret/weft-ca");
        secret["metadata"] = json!({"name": "weft-ca", "namespace": "weft-system"});
        let replicas =
            ["-n", "weft-system", "get", "deployment", "control-plane", "-o", "jsonpath={.spec.replicas}"];
        Self { cluster, secret, replicas: cluster.kubectl(&replicas) }
    }
}

impl Drop for Restored<'_> {
    fn drop(&mut self) {
        let apply = ["apply", "--server-side", "--force-conflicts", "-f", "-"];
        let _ = self.cluster.try_kubectl(&apply, &self.secret.to_string());
        scale(self.cluster, &self.replicas);
    }
}

fn object(cluster: &Cluster, name: &str) -> Value {
    serde_json::from_str(&cluster.kubectl(&["-n", "weft-system", "get", name, "-o", "json"])).unwrap()
}

fn scale(cluster: &Cluster, replicas: &str) {
    let replicas = format!("--replicas={replicas}");
    let _ = cluster.try_kubectl(&["-n", "weft-system", "scale", "deployment/control-plane", &replicas], "");
}

/// Whether each replica is ready, by name.
fn readiness(cluster: &Cluster) -> Vec<(String, bool)> {
    let ready = |pod: String| {
        let path = "jsonpath={.status.conditions[?(@.type==\"Ready\")].status}";
        let said = cluster.try_kubectl(&["-n", "weft-system", "get", "pod", &pod, "-o", path], "");
        (pod, said.is_ok_and(|said| said == "True"))
    };
    control_planes(cluster).into_iter().map(ready).collect()
}

fn log(cluster: &Cluster, pod: &str) -> String {
    cluster.try_kubectl(&["-n", "weft-system", "logs", pod, "--tail=40"], "").unwrap_or_else(|said| said)
}

/// The roots of a `weft-roots`, a `weft-trust` or a `caBundle`, by which they are compared.
fn published(cluster: &Cluster, namespace: &str) -> [(&'static str, String); 3] {
    let text = |arguments: &[&str]| cluster.try_kubectl(arguments, "").unwrap_or_default();
    let map = ["-n", namespace, "get", "configmap", "weft-roots", "-o", "jsonpath={.data.roots\\.pem}"];
    let trust = ["-n", "weft-system", "get", "secret", "weft-trust", "-o", "jsonpath={.data.roots\\.pem}"];
    let hook = [
        "get",
        "mutatingwebhookconfiguration",
        "weft-injector",
        "-o",
        "jsonpath={.webhooks[0].clientConfig.caBundle}",
    ];
    let decoded = |encoded: String| {
        let bytes: Option<ByteString> = serde_json::from_value(json!(encoded)).ok();
        bytes.map(|bytes| String::from_utf8_lossy(&bytes.0).into_owned()).unwrap_or_default()
    };
    [
        ("ConfigMap weft-roots", text(&map)),
        ("Secret weft-trust", decoded(text(&trust))),
        ("the webhook's caBundle", decoded(text(&hook))),
    ]
}

fn roots(text: &str) -> usize {
    text.matches("BEGIN CERTIFICATE").count()
}

/// The versions of what replicas might overwrite for each other.
fn versions(cluster: &Cluster, namespace: &str) -> Vec<String> {
    let version = "jsonpath={.metadata.resourceVersion}";
    [
        vec!["-n", namespace, "get", "configmap", "weft-roots", "-o", version],
        vec!["-n", "weft-system", "get", "secret", "weft-trust", "-o", version],
        vec!["get", "mutatingwebhookconfiguration", "weft-injector", "-o", version],
    ]
    .into_iter()
    .map(|arguments| cluster.kubectl(&arguments))
    .collect()
}

#[test]
fn a_wrong_key_in_the_secret_is_noticed_and_cuts_nobody_off() {
    let test = "a_wrong_key_in_the_secret_is_noticed_and_cuts_nobody_off";
    let Some(cluster) = Cluster::find(test) else { return };
    let namespace = Namespace::new(&cluster, "attack-key");
    namespace.serve(1);
    let mut attempts = Attempts::new(test);
    let restored = Restored::of(&cluster);
    let load = namespace.load(20);
    let other =
        CaMaterial::generate(&"cluster.local".parse().unwrap(), std::time::SystemTime::now()).unwrap();
    let patch = json!({"stringData": {"ca.key": other.key_pem}}).to_string();
    cluster.kubectl(&["-n", "weft-system", "patch", "secret", "weft-ca", "--type=merge", "-p", &patch]);
    let unready = cluster.until("replicas that are not ready", |cluster| {
        let found = readiness(cluster);
        (!found.is_empty() && found.iter().all(|(_, ready)| !ready)).then_some(found)
    });
    attempts.tried(
        "a key of another certificate in Secret weft-ca",
        "no replica ready",
        &format!("{unready:?}"),
        true,
    );
    let said = log(&cluster, &unready[0].0);
    // It may say of what was before this test, too.
    let reason = said.lines().rfind(|line| line.contains("not ready:")).unwrap_or_default().to_owned();
    attempts.tried("the log", "names the reason", &reason, reason.contains("belongs to another certificate"));
    if let Some(said) = cluster.weft(&["check"]) {
        attempts.tried("weft check", "a failure", &format!("{:?}", said.code), said.code == Some(1));
    }
    drop(restored);
    let ready = cluster.until("replicas that are ready", |cluster| {
        let found = readiness(cluster);
        (!found.is_empty() && found.iter().all(|(_, ready)| *ready)).then_some(found)
    });
    attempts.tried(
        "the right key again",
        "ready, without a restart",
        &format!("{ready:?}"),
        ready == as_ready(&unready),
    );
    load.finish(test);
    attempts.finish();
}

fn as_ready(unready: &[(String, bool)]) -> Vec<(String, bool)> {
    unready.iter().map(|(name, _)| (name.clone(), true)).collect()
}

#[test]
fn a_lost_authority_splits_nobody() {
    let test = "a_lost_authority_splits_nobody";
    let Some(cluster) = Cluster::find(test) else { return };
    let namespace = Namespace::new(&cluster, "attack-lost");
    namespace.serve(1);
    let mut attempts = Attempts::new(test);
    let _restored = Restored::of(&cluster);
    scale(&cluster, "2");
    let all_ready = |cluster: &Cluster| {
        let found = readiness(cluster);
        (found.len() == 2 && found.iter().all(|(_, ready)| *ready)).then_some(found)
    };
    let before = cluster.until("two replicas", all_ready);
    let old = published(&cluster, &namespace.name)[1].1.clone();
    let load = namespace.load(120);
    cluster.kubectl(&["-n", "weft-system", "delete", "secret", "weft-ca"]);
    let holder =
        ["-n", "weft-system", "get", "lease", "weft-status", "-o", "jsonpath={.spec.holderIdentity}"];
    let holder = cluster.kubectl(&holder);
    // One that does not write is restarted: it makes a new root.
    let restarted = before.iter().map(|(name, _)| name).find(|name| !holder.starts_with(&***name)).unwrap();
    cluster.kubectl(&["-n", "weft-system", "delete", "pod", restarted, "--wait=true"]);
    let after = cluster.until("two replicas again", all_ready);
    attempts.tried(
        "weft-ca deleted, one replica restarted",
        "both ready in the end",
        &format!("{after:?}"),
        true,
    );
    let wanted = roots(&old) + 1;
    let texts = cluster.until("one list of roots", |cluster| {
        let texts = published(cluster, &namespace.name);
        texts.iter().all(|(_, text)| roots(text) == wanted && *text == texts[0].1).then_some(texts)
    });
    for (place, text) in &texts {
        let keeps = old.split_inclusive("-----END CERTIFICATE-----\n").all(|root| text.contains(root.trim()));
        attempts.tried(
            place,
            &format!("{wanted} roots, those from before among them"),
            &format!("{} roots", roots(text)),
            keeps,
        );
    }
    let first = versions(&cluster, &namespace.name);
    std::thread::sleep(QUIET);
    let second = versions(&cluster, &namespace.name);
    let seen = format!("{first:?}, {second:?}");
    attempts.tried("the same, 12 s later", "nobody has written again", &seen, first == second);
    load.finish(test);
    attempts.finish();
}
