//! Probes of the application, which its proxy does for the kubelet: the kubelet has no certificate, and a connection to a
//! port that the proxy takes says nothing about the application.

use serde_json::{Map, Value, json};

use super::PROXY;
use super::containers::MONITOR_PORT;

/// Fields of a container that hold a probe, and what each is called in paths.
const PROBES: [(&str, &str); 3] =
    [("startupProbe", "startup"), ("readinessProbe", "readiness"), ("livenessProbe", "liveness")];
/// Hooks that may ask the application over HTTP.
const HOOKS: [(&str, &str); 2] = [("postStart", "post-start"), ("preStop", "pre-stop")];
/// What a probe asks with. Commands are run in the container itself.
const HANDLERS: [&str; 3] = ["httpGet", "tcpSocket", "grpc"];

/// Points every probe over the network to the proxy, and gives what they were.
pub(super) fn take(spec: &mut Value) -> Result<Map<String, Value>, String> {
    let mut taken = Map::new();
    for list in ["initContainers", "containers"] {
        for container in spec.get_mut(list).and_then(Value::as_array_mut).into_iter().flatten() {
            if container["name"] == PROXY {
                continue;
            }
            let name = container["name"].as_str().unwrap_or_default().to_owned();
            let ports = container.get("ports").cloned().unwrap_or_default();
            for (field, kind) in PROBES {
                if let Some(probe) = container.get_mut(field) {
                    let key = format!("{name}/{kind}");
                    take_one(probe, &key, &ports, &mut taken)?;
                }
            }
            for (hook, kind) in HOOKS {
                if let Some(handler) = container.pointer_mut(&format!("/lifecycle/{hook}")) {
                    let key = format!("{name}/{kind}");
                    take_one(handler, &key, &ports, &mut taken)?;
                }
            }
        }
    }
    Ok(taken)
}

fn take_one(
    probe: &mut Value,
    key: &str,
    ports: &Value,
    taken: &mut Map<String, Value>,
) -> Result<(), String> {
    let Some(fields) = probe.as_object_mut() else { return Ok(()) };
    let path = format!("/probe/{key}");
    let done = fields.get("httpGet").is_some_and(|get| get["path"] == *path && get["port"] == MONITOR_PORT);
    if done {
        return Ok(());
    }
    let mut original = Map::new();
    for handler in HANDLERS {
        if let Some(mut asked) = fields.remove(handler) {
            asked["port"] = json!(number(&asked["port"], ports).ok_or_else(|| {
                format!("probe {key} is for port {}, which its container does not name", asked["port"])
            })?);
            original.insert(handler.to_owned(), asked);
        }
    }
    if original.is_empty() {
        return Ok(());
    }
    if let Some(timeout) = fields.get("timeoutSeconds") {
        original.insert("timeoutSeconds".to_owned(), timeout.clone());
    }
    fields.insert("httpGet".to_owned(), json!({"path": path, "port": MONITOR_PORT, "scheme": "HTTP"}));
    taken.insert(key.to_owned(), Value::Object(original));
    Ok(())
}

/// The number of a port, which may be given by the name that the container gives it.
fn number(port: &Value, ports: &Value) -> Option<u64> {
    if let Some(number) = port.as_u64() {
        return Some(number);
    }
    let name = port.as_str()?;
    if let Ok(number) = name.parse() {
        return Some(number);
    }
    let named = ports.as_array()?.iter().find(|port| port["name"] == name)?;
    named["containerPort"].as_u64()
}
