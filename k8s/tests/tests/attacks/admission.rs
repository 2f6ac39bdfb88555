//! Pods that would be outside of the mesh, or half in it.

use serde_json::{Value, json};
use weft_cluster_tests::{Cluster, Namespace};

use crate::world::{Attempts, address, attacker, from_node};

fn pod(spec: &Value, annotations: &Value) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "a", "annotations": annotations},
        "spec": spec,
    })
}

fn container(context: &Value) -> Value {
    json!({"containers": [{"name": "app", "image": "app", "securityContext": context}]})
}

/// Pods that a tenant makes, and what each is called.
fn forged() -> Vec<(&'static str, Value)> {
    let none = json!({});
    let status = json!({"mesh.weft.dev/status": "{\"redirect\":\"cni\"}"});
    let proxy = json!({
        "containers": [{"name": "app", "image": "app"}],
        "initContainers": [{
            "name": "weft-proxy", "image": "evil", "restartPolicy": "Always", "securityContext": {"runAsUser": 2102},
        }],
    });
    let one = |context: &Value| pod(&container(context), &none);
    let whole = |context: &Value| {
        let spec = json!({"securityContext": context, "containers": [{"name": "app", "image": "app"}]});
        pod(&spec, &none)
    };
    vec![
        ("runAsUser: 2102 of a container", one(&json!({"runAsUser": 2102}))),
        ("runAsGroup: 2102 of a container", one(&json!({"runAsGroup": 2102}))),
        ("runAsGroup: 2102 of the pod", whole(&json!({"runAsGroup": 2102}))),
        ("supplementalGroups: [2102]", whole(&json!({"supplementalGroups": [2102]}))),
        ("fsGroup: 2102", whole(&json!({"fsGroup": 2102}))),
        ("a container weft-proxy of its own", pod(&proxy, &none)),
        ("the same with a status annotation", pod(&proxy, &status)),
    ]
}

#[test]
fn pods_that_would_get_around_their_sidecar_are_refused() {
    let test = "pods_that_would_get_around_their_sidecar_are_refused";
    let Some(cluster) = Cluster::find(test) else { return };
    let namespace = Namespace::new(&cluster, "attack-pods");
    cluster.until("the service account", |cluster| {
        cluster.try_kubectl(&["-n", &namespace.name, "get", "serviceaccount", "default"], "").ok()
    });
    let mut attempts = Attempts::new(test);
    let create = ["-n", &namespace.name, "create", "--dry-run=server", "-f", "-"];
    let honest = pod(&container(&json!({"runAsUser": 1000, "runAsGroup": 1000})), &json!({}));
    let said = cluster.try_kubectl(&create, &honest.to_string());
    attempts.tried("an ordinary pod", "taken", &format!("{said:?}"), said.is_ok());
    for (what, pod) in forged() {
        let said = cluster.try_kubectl(&create, &pod.to_string());
        let refused = said.as_ref().is_err_and(|said| said.contains("weft:"));
        let seen = said.unwrap_or_else(|said| said);
        attempts.tried(&format!("a pod with {what}"), "refused by the injector", &seen, refused);
    }
    attacker(&namespace, "insider", true);
    for (user, taken) in [("1000", true), ("2102", false)] {
        let patch = json!({"spec": {"ephemeralContainers": [{
            "name": format!("debug-{user}"), "image": "weft.test/busybox:1", "command": ["true"],
            "securityContext": {"runAsUser": user.parse::<u64>().unwrap()},
        }]}});
        let patching =
            ["-n", &namespace.name, "patch", "pod", "insider", "--subresource=ephemeralcontainers", "-p"];
        let said = cluster.try_kubectl(&[&patching[..], &[&patch.to_string()]].concat(), "");
        let expected = if taken { "taken" } else { "refused by the injector" };
        let as_expected = said.as_ref().map_or_else(|said| !taken && said.contains("weft:"), |_| taken);
        attempts.tried(
            &format!("an ephemeral container as user {user}"),
            expected,
            &format!("{said:?}"),
            as_expected,
        );
    }
    attempts.finish();
}

#[test]
fn a_pod_that_nobody_redirects_is_never_ready_and_says_so() {
    let test = "a_pod_that_nobody_redirects_is_never_ready_and_says_so";
    let Some(cluster) = Cluster::find(test) else { return };
    let namespace = Namespace::new(&cluster, "attack-bare");
    let mut attempts = Attempts::new(test);
    // As if its plugin came too late: there is none on this node.
    namespace.apply(
        "
apiVersion: v1
kind: Pod
metadata: {name: early, annotations: {mesh.weft.dev/redirect: cni}}
spec:
  containers:
  - {name: app, image: 'weft.test/busybox:1', imagePullPolicy: IfNotPresent, command: [sleep, infinity]}
",
    );
    let said = cluster.until("an answer of its sidecar", |cluster| {
        let address = address(cluster, &namespace.name, "early");
        let said = from_node(&[], &format!("http://{address}:15020/ready"))?;
        // It says first that it does not know yet.
        said.contains("is not redirected to this proxy").then_some(said)
    });
    attempts.tried("/ready of a pod without rules", "503 with the reason", &said, said.starts_with("503"));
    let state = namespace.kubectl(&[
        "get",
        "pod",
        "early",
        "-o",
        "jsonpath={.status.phase} {.status.containerStatuses[0].state}",
    ]);
    let waits = state.starts_with("Pending") && state.contains("PodInitializing");
    attempts.tried("its application", "not started", &state, waits);
    if let Some(said) = cluster.weft(&["check"]) {
        let line =
            said.out.lines().find(|line| line.contains("are not ready")).unwrap_or_default().to_owned();
        let named = line.contains("is not redirected to this proxy");
        attempts.tried("weft check", "names the pod and the reason", &line, named && said.code == Some(1));
    }
    attempts.finish();
}
