//! The control plane: its pods, how it is reached, and how many of it there are.

use serde_json::{Value, json};

use super::{
    CONTROL_PLANE, INJECT_LABEL, VERSION, Values, labelled, metadata, selected, settings, unless_empty,
};
use crate::install::values::{AntiAffinity, TrustDomain};

/// Discovery and identity, gRPC in mutual TLS.
const DISCOVERY: u16 = 15012;
/// `/ready`, `/live`, `/metrics`, for nodes and Prometheus. What operators ask for is on loopback, where a port is forwarded
/// to by the API server for those who may.
const MONITOR: u16 = 15020;
/// The injector, HTTPS.
const WEBHOOK: u16 = 15017;
/// Nobody's user id on a node, and nobody's in particular.
const USER: u32 = 65532;

/// Deployment, Service, and what keeps enough pods and the right callers.
pub(super) fn documents(values: &Values) -> Vec<Value> {
    let mut made = vec![service(), deployment(values)];
    let budget = &values.control_plane.disruption_budget;
    if budget.enabled {
        made.push(json!({
            "apiVersion": "policy/v1",
            "kind": "PodDisruptionBudget",
            "metadata": metadata(CONTROL_PLANE),
            "spec": {
                "maxUnavailable": budget.max_unavailable,
                "selector": { "matchLabels": selected() },
            },
        }));
    }
    if values.control_plane.autoscaling.enabled {
        made.push(autoscaler(values));
    }
    if values.network_policy.enabled {
        let port = |port: u16| json!({ "port": port, "protocol": "TCP" });
        made.push(json!({
            "apiVersion": "networking.k8s.io/v1",
            "kind": "NetworkPolicy",
            "metadata": metadata(CONTROL_PLANE),
            // The API server and the kubelet have addresses that no selector names, so anyone may come to these ports.
            "spec": {
                "ingress": [{ "ports": [port(DISCOVERY), port(MONITOR), port(WEBHOOK)] }],
                "podSelector": { "matchLabels": selected() },
                "policyTypes": ["Ingress"],
            },
        }));
    }
    made.into_iter().map(labelled).collect()
}

fn service() -> Value {
    let port = |name: &str, port: u16, target: &str, protocol: &str| json!({ "appProtocol": protocol, "name": name, "port": port, "protocol": "TCP", "targetPort": target });
    json!({
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata(CONTROL_PLANE),
        "spec": {
            "ports": [
                port("discovery", DISCOVERY, "discovery", "tls"),
                port("monitor", MONITOR, "monitor", "http"),
                port("webhook", 443, "webhook", "https"),
            ],
            "selector": selected(),
        },
    })
}

fn deployment(values: &Values) -> Value {
    let mut spec = json!({
        "selector": { "matchLabels": selected() },
        // The next one is ready before one goes.
        "strategy": { "rollingUpdate": { "maxSurge": 1, "maxUnavailable": 0 }, "type": "RollingUpdate" },
        "template": { "metadata": pod_metadata(values), "spec": pod(values) },
    });
    if !values.control_plane.autoscaling.enabled {
        spec["replicas"] = json!(values.control_plane.replicas);
    }
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": metadata(CONTROL_PLANE),
        "spec": spec,
    })
}

fn pod_metadata(values: &Values) -> Value {
    let mut labels = json!(values.control_plane.pod_labels);
    labels["app.kubernetes.io/name"] = json!(CONTROL_PLANE);
    labels["app.kubernetes.io/part-of"] = json!("weft");
    labels["app.kubernetes.io/version"] = json!(VERSION);
    labels[INJECT_LABEL] = json!("disabled");
    let mut annotations = json!(values.control_plane.pod_annotations);
    annotations["mesh.weft.dev/settings"] = json!(settings::digest(values));
    if values.monitoring.scrape_annotations {
        annotations["prometheus.io/path"] = json!("/metrics");
        annotations["prometheus.io/port"] = json!(MONITOR.to_string());
        annotations["prometheus.io/scrape"] = json!("true");
    }
    json!({ "annotations": annotations, "labels": labels })
}

fn pod(values: &Values) -> Value {
    let own = &values.control_plane;
    let mut security = json!({ "runAsNonRoot": true, "seccompProfile": { "type": "RuntimeDefault" } });
    if !values.openshift {
        security["runAsUser"] = json!(USER);
        security["runAsGroup"] = json!(USER);
    }
    let mut pod = json!({
        "automountServiceAccountToken": true,
        "containers": [container(values)],
        "securityContext": security,
        "serviceAccountName": CONTROL_PLANE,
        "terminationGracePeriodSeconds": 30,
        // Nothing in the state folder has to last.
        "volumes": [
            { "emptyDir": {}, "name": "state" },
            { "configMap": { "name": "weft-settings" }, "name": "settings" },
        ],
    });
    if own.affinity.is_empty() {
        unless_empty(&mut pod, "affinity", apart(own.anti_affinity));
    } else {
        pod["affinity"] = json!(own.affinity);
    }
    unless_empty(&mut pod, "nodeSelector", &own.node_selector);
    unless_empty(&mut pod, "tolerations", &own.tolerations);
    unless_empty(&mut pod, "priorityClassName", &own.priority_class_name);
    let secrets: Vec<Value> = values.image.pull_secrets.iter().map(|name| json!({ "name": name })).collect();
    unless_empty(&mut pod, "imagePullSecrets", secrets);
    pod
}

fn apart(how: AntiAffinity) -> Value {
    let term =
        json!({ "labelSelector": { "matchLabels": selected() }, "topologyKey": "kubernetes.io/hostname" });
    match how {
        AntiAffinity::None => Value::Null,
        AntiAffinity::Preferred => json!({ "podAntiAffinity": {
            "preferredDuringSchedulingIgnoredDuringExecution": [{ "podAffinityTerm": term, "weight": 100 }],
        } }),
        AntiAffinity::Required => {
            json!({ "podAntiAffinity": { "requiredDuringSchedulingIgnoredDuringExecution": [term] } })
        }
    }
}

fn container(values: &Values) -> Value {
    let own = &values.control_plane;
    let probe = |path: &str, period: u32, failures: u32| {
        json!({
            "failureThreshold": failures,
            "httpGet": { "path": path, "port": "monitor" },
            "periodSeconds": period,
            "timeoutSeconds": 3,
        })
    };
    let port = |name: &str, port: u16| json!({ "containerPort": port, "name": name, "protocol": "TCP" });
    let field =
        |name: &str, path: &str| json!({ "name": name, "valueFrom": { "fieldRef": { "fieldPath": path } } });
    let TrustDomain(trust_domain) = &values.trust_domain;
    let mut made = json!({
        "name": CONTROL_PLANE,
        "image": values.image("weft-control-plane"),
        "imagePullPolicy": values.image.pull_policy,
        "args": arguments(values),
        "env": [
            { "name": "WEFT_LOG", "value": own.log_level },
            { "name": "WEFT_TRUST_DOMAIN", "value": trust_domain },
            field("POD_NAME", "metadata.name"),
            field("POD_NAMESPACE", "metadata.namespace"),
        ],
        "ports": [port("discovery", DISCOVERY), port("monitor", MONITOR), port("webhook", WEBHOOK)],
        // A minute to read a large cluster for the first time.
        "startupProbe": probe("/live", 1, 60),
        "livenessProbe": probe("/live", 10, 3),
        "readinessProbe": probe("/ready", 2, 2),
        "securityContext": {
            "allowPrivilegeEscalation": false,
            "capabilities": { "drop": ["ALL"] },
            "readOnlyRootFilesystem": true,
        },
        "volumeMounts": [
            { "mountPath": "/var/run/weft", "name": "state" },
            { "mountPath": "/etc/weft", "name": "settings", "readOnly": true },
        ],
    });
    unless_empty(&mut made, "resources", resources(&own.resources));
    made
}

/// Requests and limits, those that there are.
pub(super) fn resources(from: &crate::install::values::Resources) -> Value {
    let mut made = json!({});
    unless_empty(&mut made, "limits", &from.limits);
    unless_empty(&mut made, "requests", &from.requests);
    made
}

fn arguments(values: &Values) -> Vec<String> {
    let mut arguments: Vec<String> = [
        "--kubernetes",
        "--listen=[::]:15012",
        "--admin=127.0.0.1:15014",
        "--monitor=[::]:15020",
        "--webhook=[::]:15017",
        "--settings=/etc/weft/settings.yaml",
    ]
    .map(str::to_owned)
    .into();
    if !values.ca.secret.is_empty() {
        arguments.push(format!("--ca-secret={}", values.ca.secret));
    }
    arguments.extend(values.control_plane.extra_args.iter().cloned());
    arguments
}

fn autoscaler(values: &Values) -> Value {
    let scaling = &values.control_plane.autoscaling;
    json!({
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": metadata(CONTROL_PLANE),
        "spec": {
            "maxReplicas": scaling.max_replicas,
            "metrics": [{
                "resource": {
                    "name": "cpu",
                    "target": { "averageUtilization": scaling.cpu_percent, "type": "Utilization" },
                },
                "type": "Resource",
            }],
            "minReplicas": scaling.min_replicas,
            "scaleTargetRef": { "apiVersion": "apps/v1", "kind": "Deployment", "name": CONTROL_PLANE },
        },
    })
}
