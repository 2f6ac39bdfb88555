//! Credentials in the wrong hands.

use std::time::SystemTime;

use k8s_openapi::ByteString;
use serde_json::json;
use weft_cluster_tests::{Cluster, Namespace};
use weft_identity::{Grants, NewToken, TokenIssuer, TrustBundle};

use crate::world::{Attempts, NODE, Program};

/// Where the control plane is, as this node reaches it.
fn control_plane(cluster: &Cluster) -> String {
    let get =
        |path: &str| cluster.kubectl(&["-n", "weft-system", "get", "service", "control-plane", "-o", path]);
    let port = get("jsonpath={.spec.ports[?(@.name==\"discovery\")].port}");
    format!(
        "{}:{}",
        get("jsonpath={.spec.clusterIP}"),
        if port.is_empty() { "15012".to_owned() } else { port }
    )
}

fn roots(cluster: &Cluster) -> String {
    cluster.kubectl(&[
        "-n",
        "weft-system",
        "get",
        "configmap",
        "weft-roots",
        "-o",
        "jsonpath={.data.roots\\.pem}",
    ])
}

/// A join token for an account, as an operator would make one for a machine.
fn token(cluster: &Cluster, namespace: &str, account: &str) -> String {
    let encoded = cluster.kubectl(&[
        "-n",
        "weft-system",
        "get",
        "secret",
        "weft-tokens",
        "-o",
        "jsonpath={.data.token\\.key}",
    ]);
    let key: ByteString = serde_json::from_value(json!(encoded)).unwrap();
    let domain = "cluster.local".parse().unwrap();
    let new = NewToken {
        identity: format!("spiffe://cluster.local/ns/{namespace}/sa/{account}").parse().unwrap(),
        roots: TrustBundle::from_pem(&domain, &roots(cluster)).unwrap().fingerprints(&domain),
        control_plane: Some(control_plane(cluster)),
        grants: Grants::default(),
        ttl: std::time::Duration::from_mins(10),
    };
    TokenIssuer::from_key(&String::from_utf8(key.0).unwrap()).unwrap().mint(&new, SystemTime::now()).unwrap()
}

#[test]
fn nobody_registers_for_a_service_of_the_cluster() {
    let test = "nobody_registers_for_a_service_of_the_cluster";
    let Some(cluster) = Cluster::find(test) else { return };
    let namespace = Namespace::new(&cluster, "attack-join");
    namespace.serve(1);
    let mut attempts = Attempts::new(test);
    let token = token(&cluster, &namespace.name, "evil");
    let arguments = [
        "proxy",
        "--token-file",
        "DIR/token",
        "--service",
        &format!("reviews:80/http=127.0.0.1:9@{NODE}:0"),
        "--admin",
        "127.0.0.1:0",
    ];
    let Some(evil) = Program::start(&arguments, &[("token", &token)]) else { return };
    // What is refused for good ends it; what was taken would make it ready.
    let said = cluster.until("an answer", |_| {
        let said = evil.said();
        (evil.has_ended() || said.contains("status: ready") || said.contains("not registered"))
            .then_some(said)
    });
    let last = said.lines().last().unwrap_or_default();
    let what = format!("weft proxy --service reviews:80, as {}/evil", namespace.name);
    let refused = !said.contains("status: ready") && last.contains("regist");
    attempts.tried(&what, "the registration is refused, with the reason", last, refused);
    if let Some(said) = cluster.weft(&["get", "endpoints", "-n", &namespace.name, "deploy/server"]) {
        let seen = said.out.lines().filter(|line| line.contains(&format!("{NODE}:"))).count();
        attempts.tried(
            "endpoints of reviews",
            "none of the attacker",
            &format!("{seen} of {NODE}"),
            seen == 0,
        );
    }
    attempts.finish();
}

#[test]
fn a_certificate_is_not_renewed_when_its_pod_and_account_are_gone() {
    let test = "a_certificate_is_not_renewed_when_its_pod_and_account_are_gone";
    let Some(cluster) = Cluster::find(test) else { return };
    let namespace = Namespace::new(&cluster, "attack-renew");
    namespace.apply(
        "
apiVersion: v1
kind: ServiceAccount
metadata: {name: thief}
---
apiVersion: v1
kind: Pod
metadata: {name: thief, labels: {mesh.weft.dev/inject: disabled}}
spec:
  serviceAccountName: thief
  terminationGracePeriodSeconds: 0
  containers:
  - {name: app, image: 'weft.test/busybox:1', imagePullPolicy: IfNotPresent, command: [sleep, infinity]}
",
    );
    namespace.kubectl(&["wait", "pod/thief", "--for=condition=Ready", "--timeout=60s"]);
    let uid = namespace.kubectl(&["get", "pod", "thief", "-o", "jsonpath={.metadata.uid}"]);
    let uid = format!("--bound-object-uid={uid}");
    let token = namespace.kubectl(&[
        "create",
        "token",
        "thief",
        "--audience=weft",
        "--bound-object-kind=Pod",
        "--bound-object-name=thief",
        &uid,
    ]);
    let (identity, workload) = (format!("{}/thief", namespace.name), format!("thief.{}", namespace.name));
    let plane = control_plane(&cluster);
    let arguments = [
        "proxy",
        "--control-plane",
        &plane,
        "--service-account-token",
        "DIR/token",
        "--identity",
        &identity,
        "--workload-id",
        &workload,
        "--roots",
        "DIR/roots",
        "--admin",
        "127.0.0.1:0",
    ];
    let files = [("token", &*token), ("roots", &roots(&cluster))];
    let Some(thief) = Program::start(&arguments, &files) else { return };
    let mut attempts = Attempts::new(test);
    let first = cluster.until("a certificate", |_| {
        thief.ask(&["-X", "POST"], "/rotate").filter(|said| said.starts_with("200"))
    });
    attempts.tried("POST /rotate while the pod is there", "200", &first, true);
    namespace.kubectl(&["delete", "pod", "thief", "--wait=true"]);
    namespace.kubectl(&["delete", "serviceaccount", "thief"]);
    // The API server remembers what it said of a token for ten seconds.
    let mut seen = String::new();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(45);
    while std::time::Instant::now() < deadline {
        seen = thief.ask(&["-X", "POST"], "/rotate").unwrap_or_default();
        if !seen.starts_with("200") {
            break;
        }
        std::thread::sleep(std::time::Duration::from_secs(2));
    }
    let what = "POST /rotate within 45 s after pod and service account were deleted";
    attempts.tried(what, "refused, with the reason", &seen, !seen.starts_with("200") && !seen.is_empty());
    attempts.finish();
}
