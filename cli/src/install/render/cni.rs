//! The plugin that redirects traffic, on every node.

use serde_json::{Value, json};

use super::{INJECT_LABEL, NAMESPACE, VERSION, Values, labelled, metadata, unless_empty, workload};

const NAME: &str = "weft-cni";

/// Lets the plugin's pods be privileged on `OpenShift`.
fn privileged_binding() -> Value {
    labelled(json!({
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "RoleBinding",
        "metadata": metadata(NAME),
        // OpenShift has this role for who may use its security context constraint of the same name.
        "roleRef": {
            "apiGroup": "rbac.authorization.k8s.io",
            "kind": "ClusterRole",
            "name": "system:openshift:scc:privileged",
        },
        "subjects": [{ "kind": "ServiceAccount", "name": NAME, "namespace": NAMESPACE }],
    }))
}

/// The `DaemonSet` that installs the plugin on its node, and takes it away at its end.
pub(super) fn documents(values: &Values) -> Vec<Value> {
    let cni = &values.cni;
    if !cni.enabled {
        return Vec::new();
    }
    let selected = json!({ "app.kubernetes.io/name": NAME, "app.kubernetes.io/part-of": "weft" });
    let mut labels = selected.clone();
    labels["app.kubernetes.io/version"] = json!(VERSION);
    labels[INJECT_LABEL] = json!("disabled");
    let mut pod = json!({
        "automountServiceAccountToken": false,
        "containers": [container(values)],
        "nodeSelector": { "kubernetes.io/os": "linux" },
        // Pods that start at the same time as their node wait for the plugin.
        "priorityClassName": "system-node-critical",
        "serviceAccountName": NAME,
        "terminationGracePeriodSeconds": 10,
        "volumes": [
            { "hostPath": { "path": cni.bin_dir, "type": "Directory" }, "name": "bin" },
            { "hostPath": { "path": cni.conf_dir, "type": "DirectoryOrCreate" }, "name": "conf" },
        ],
    });
    unless_empty(&mut pod, "tolerations", &cni.tolerations);
    let secrets: Vec<Value> = values.image.pull_secrets.iter().map(|name| json!({ "name": name })).collect();
    unless_empty(&mut pod, "imagePullSecrets", secrets);
    let mut made = Vec::new();
    if values.openshift {
        made.push(privileged_binding());
    }
    made.extend([
        labelled(json!({
            "apiVersion": "v1",
            "kind": "ServiceAccount",
            "metadata": metadata(NAME),
            "automountServiceAccountToken": false,
        })),
        labelled(json!({
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": metadata(NAME),
            "spec": {
                "selector": { "matchLabels": selected },
                "template": { "metadata": { "labels": labels }, "spec": pod },
                // The plugin stays on a node while what installs it is replaced, and new sidecars may need a new one.
                "updateStrategy": { "rollingUpdate": { "maxUnavailable": "100%" }, "type": "RollingUpdate" },
            },
        })),
    ]);
    made
}

fn container(values: &Values) -> Value {
    let security = if values.openshift {
        // SELinux lets nothing less write to the node's folders there.
        json!({ "privileged": true, "readOnlyRootFilesystem": true, "runAsUser": 0 })
    } else {
        json!({
            "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] },
            "readOnlyRootFilesystem": true,
            // The node's folders are root's.
            "runAsUser": 0,
            "seccompProfile": { "type": "RuntimeDefault" },
        })
    };
    let mut made = json!({
        "name": NAME,
        "image": values.image(NAME),
        "imagePullPolicy": values.image.pull_policy,
        "args": ["install", "--bin-dir=/host/bin", "--conf-dir=/host/conf"],
        "securityContext": security,
        "volumeMounts": [
            { "mountPath": "/host/bin", "name": "bin" },
            { "mountPath": "/host/conf", "name": "conf" },
        ],
    });
    unless_empty(&mut made, "resources", workload::resources(&values.cni.resources));
    made
}
