//! The containers and volumes that a pod gets.

use serde_json::{Map, Value, json};

use super::annotations::Annotations;
use super::resources::quantity;
use super::{PROXY, REDIRECT, USER, items};
use crate::kubernetes::AUDIENCE;
use crate::settings::{AccessLog, Redirect, Settings};

/// Where readiness, metrics and probes are.
pub(super) const MONITOR_PORT: u16 = 15020;
const ADMIN_PORT: u16 = 15000;
const OUTBOUND_PORT: u16 = 15001;
const INBOUND_PORT: u16 = 15006;
/// The HTTP proxy of pods that are not redirected.
const EXPLICIT_PORT: u16 = 15008;
/// Mark of the proxy's packets.
const MARK: &str = "0x2102";
/// Names of the proxy's volumes.
pub(super) const TOKEN_VOLUME: &str = "weft-token";
pub(super) const ROOTS_VOLUME: &str = "weft-roots";
pub(super) const TOKEN_FOLDER: &str = "/var/run/secrets/weft";
const ROOTS_FOLDER: &str = "/var/run/weft";
/// Life of the token that proves the service account, in seconds; the kubelet renews it.
const TOKEN_LIFE: u64 = 3600;
/// Threads of a proxy without a limit of processors: more would not be used by one pod's requests, and cost memory on
/// large nodes.
const WORKERS: u64 = 2;
/// Startup is looked at every second, up to so often: the control plane may still be starting, too.
const STARTUP_LOOKS: u32 = 300;

/// Of the time that a pod has to end, what is left when its proxy's requests are cut off, in seconds.
const END: u64 = 5;
/// What a proxy's requests have without being told, in seconds.
const DRAIN: u64 = 25;

/// Ports that a proxy takes.
pub(super) fn ports(redirect: Redirect) -> Vec<u64> {
    let own: &[u16] = match redirect {
        Redirect::None => &[ADMIN_PORT, EXPLICIT_PORT, MONITOR_PORT],
        Redirect::Init | Redirect::Cni => &[ADMIN_PORT, OUTBOUND_PORT, INBOUND_PORT, MONITOR_PORT],
    };
    own.iter().copied().map(u64::from).collect()
}

/// Whether an injected pod's applications are told of their proxy, rather than redirected to it.
pub(super) fn is_explicit(spec: &Value) -> bool {
    let proxy = super::all_containers(spec).find(|container| container["name"] == PROXY);
    proxy.is_some_and(|proxy| items(proxy, "args").any(|arg| arg == "--outbound"))
}

/// The sidecar. `grace` is how long the pod has to end, in seconds.
pub(super) fn proxy(
    settings: &Settings,
    annotations: &Annotations,
    probes: &Map<String, Value>,
    native: bool,
    grace: u64,
) -> Value {
    let mut args = vec!["--monitor".to_owned(), format!("[::]:{MONITOR_PORT}")];
    if annotations.redirect == Redirect::None {
        args.extend(["--outbound".to_owned(), format!("127.0.0.1:{EXPLICIT_PORT}")]);
    } else {
        args.extend(["--transparent-outbound".to_owned(), format!("[::]:{OUTBOUND_PORT}")]);
        args.extend(["--transparent-inbound".to_owned(), format!("[::]:{INBOUND_PORT}")]);
    }
    let drain = grace.saturating_sub(END).max(1);
    if drain != DRAIN {
        args.extend(["--drain-timeout".to_owned(), drain.to_string()]);
    }
    let ready = json!({"path": "/ready", "port": MONITOR_PORT});
    let mut container = json!({
        "name": PROXY,
        "image": settings.proxy_image,
        "imagePullPolicy": settings.proxy_image_pull_policy,
        "command": ["/weft-proxy"],
        "args": args,
        "env": environment(settings, annotations, probes),
        "ports": [{"name": "weft-monitor", "containerPort": MONITOR_PORT, "protocol": "TCP"}],
        "startupProbe": {"httpGet": ready, "periodSeconds": 1, "failureThreshold": STARTUP_LOOKS},
        "readinessProbe": {"httpGet": ready, "periodSeconds": 2, "failureThreshold": 2},
        "resources": annotations.resources,
        "securityContext": {
            "runAsUser": USER,
            "runAsGroup": USER,
            "runAsNonRoot": true,
            "allowPrivilegeEscalation": false,
            "privileged": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "volumeMounts": [
            {"name": TOKEN_VOLUME, "mountPath": TOKEN_FOLDER, "readOnly": true},
            {"name": ROOTS_VOLUME, "mountPath": ROOTS_FOLDER, "readOnly": true},
        ],
    });
    if native {
        container["restartPolicy"] = json!("Always");
    }
    container
}

fn environment(settings: &Settings, annotations: &Annotations, probes: &Map<String, Value>) -> Value {
    let field =
        |name: &str, path: &str| json!({"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}});
    let value = |name: &str, value: &str| json!({"name": name, "value": value});
    let limit = annotations.resources.pointer("/limits/cpu").and_then(quantity);
    let workers = limit.map_or(WORKERS, |thousandths| thousandths.div_ceil(1000).max(1));
    let mut environment = vec![
        value("WEFT_CONTROL_PLANE", &settings.control_plane),
        value("WEFT_TRUST_DOMAIN", &settings.trust_domain),
        field("WEFT_POD", "metadata.name"),
        field("WEFT_NAMESPACE", "metadata.namespace"),
        field("WEFT_ACCOUNT", "spec.serviceAccountName"),
        field("WEFT_NODE", "spec.nodeName"),
        value("WEFT_IDENTITY", "$(WEFT_NAMESPACE)/$(WEFT_ACCOUNT)"),
        value("WEFT_WORKLOAD_ID", "$(WEFT_POD).$(WEFT_NAMESPACE)"),
        value("WEFT_SERVICE_ACCOUNT_TOKEN", &format!("{TOKEN_FOLDER}/token")),
        value("WEFT_ROOTS", &format!("{ROOTS_FOLDER}/roots.pem")),
        value("WEFT_LOG", &annotations.log_level),
        value("WEFT_WORKERS", &workers.to_string()),
    ];
    if annotations.access_log != AccessLog::Off {
        environment.push(value("WEFT_ACCESS_LOG", annotations.access_log.as_str()));
    }
    if let Some(seconds) = annotations.application_idle_seconds {
        environment.push(value("WEFT_APPLICATION_IDLE_TIMEOUT", &seconds.to_string()));
    }
    if !probes.is_empty() {
        environment.push(value(PROBES, &Value::Object(probes.clone()).to_string()));
    }
    Value::Array(environment)
}

/// Variable of the probes that the proxy does.
pub(super) const PROBES: &str = "WEFT_PROBES";

/// The probes that an injected pod's proxy does.
pub(super) fn known_probes(spec: &Value) -> Map<String, Value> {
    let proxy = super::all_containers(spec).find(|container| container["name"] == PROXY);
    let entry = proxy.and_then(|proxy| items(proxy, "env").find(|entry| entry["name"] == PROBES));
    let known = entry.and_then(|entry| entry["value"].as_str()).unwrap_or("{}");
    serde_json::from_str(known).unwrap_or_default()
}

/// Adds probes to those that an injected pod's proxy knows already.
pub(super) fn add_probes(spec: &mut Value, added: Map<String, Value>) {
    let mut probes = known_probes(spec);
    probes.extend(added);
    for list in ["initContainers", "containers"] {
        let containers = spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten();
        for container in containers.filter(|container| container["name"] == PROXY) {
            let Some(environment) = container.get_mut("env").and_then(Value::as_array_mut) else { continue };
            environment.retain(|entry| entry["name"] != PROBES);
            environment.push(json!({"name": PROBES, "value": Value::Object(probes.clone()).to_string()}));
            return;
        }
    }
}

/// The init container that redirects. It ends before the application starts, and holds the one capability that is needed.
pub(super) fn redirect(settings: &Settings, annotations: &Annotations) -> Value {
    let mut args: Vec<String> = ["redirect", "apply"].map(str::to_owned).into();
    for (option, value) in [
        ("--outbound-port", OUTBOUND_PORT.to_string()),
        ("--inbound-port", INBOUND_PORT.to_string()),
        ("--user", USER.to_string()),
        ("--mark", MARK.to_owned()),
        ("--skip-inbound-ports", annotations.skip_inbound_ports.join(",")),
        ("--skip-outbound-ports", annotations.skip_outbound_ports.join(",")),
        ("--skip-outbound-addresses", annotations.skip_outbound_addresses.join(",")),
    ] {
        if !value.is_empty() {
            args.extend([option.to_owned(), value]);
        }
    }
    json!({
        "name": REDIRECT,
        "image": settings.proxy_image,
        "imagePullPolicy": settings.proxy_image_pull_policy,
        "command": ["/weft-proxy"],
        "args": args,
        "resources": {"requests": {"cpu": "10m", "memory": "10Mi"}},
        "securityContext": {
            "runAsUser": 0,
            "runAsGroup": 0,
            "runAsNonRoot": false,
            "allowPrivilegeEscalation": false,
            "privileged": false,
            "readOnlyRootFilesystem": true,
            "capabilities": {"add": ["NET_ADMIN"], "drop": ["ALL"]},
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "terminationMessagePolicy": "FallbackToLogsOnError",
    })
}

/// Tells the application's containers of the proxy, for what goes over plain HTTP: the mesh encrypts it. What they are told
/// already stays. Init containers that run before a plain sidecar are told of none.
pub(super) fn point_to_proxy(spec: &mut Value) {
    let proxy = format!("http://127.0.0.1:{EXPLICIT_PORT}");
    let native = items(spec, "initContainers").any(|container| container["name"] == PROXY);
    let lists: &[&str] = if native { &["initContainers", "containers"] } else { &["containers"] };
    for list in lists {
        for container in spec.get_mut(*list).and_then(Value::as_array_mut).into_iter().flatten() {
            if container["name"] == PROXY {
                continue;
            }
            for (name, value) in [
                ("HTTP_PROXY", &*proxy),
                ("http_proxy", &*proxy),
                ("NO_PROXY", "localhost,127.0.0.1,::1"),
                ("no_proxy", "localhost,127.0.0.1,::1"),
            ] {
                let environment = container.get("env").and_then(Value::as_array).into_iter().flatten();
                if !environment.clone().any(|entry| entry["name"] == name) {
                    super::insert(container, "env", usize::MAX, json!({"name": name, "value": value}));
                }
            }
        }
    }
}

pub(super) fn volumes() -> [Value; 2] {
    let token = json!({"path": "token", "audience": AUDIENCE, "expirationSeconds": TOKEN_LIFE});
    [
        json!({"name": TOKEN_VOLUME, "projected": {"sources": [{"serviceAccountToken": token}]}}),
        json!({"name": ROOTS_VOLUME, "configMap": {"name": crate::kubernetes::ROOTS}}),
    ]
}
