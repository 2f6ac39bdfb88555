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
/// `grace` is how long the pod has to end, in seconds: hooks may take so long.
pub(super) fn take(spec: &mut Value, grace: u64) -> Result<Map<String, Value>, String> {
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
                    if let Some(Value::Object(hook)) = taken.get_mut(&key) {
                        hook.entry("timeoutSeconds").or_insert(json!(grace.max(1)));
                    }
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
    // No container listens there itself.
    let done = fields.get("httpGet").is_some_and(|get| get["port"] == MONITOR_PORT);
    if done {
        return Ok(());
    }
    // What the API server refuses is left as it is, so that it does.
    let handlers = HANDLERS
        .iter()
        .chain(&["exec"])
        .filter(|handler| fields.get(**handler).is_some_and(|it| !it.is_null()));
    if handlers.count() != 1 {
        return Ok(());
    }
    let Some(handler) =
        HANDLERS.into_iter().find(|handler| fields.get(*handler).is_some_and(Value::is_object))
    else {
        return Ok(());
    };
    let Some(Value::Object(mut asked)) = fields.get(handler).cloned() else { return Ok(()) };
    asked.retain(|_, value| !value.is_null());
    if !headers(&mut asked) {
        return Ok(());
    }
    let port = asked.get("port").unwrap_or(&Value::Null);
    let number = number(port, ports)
        .ok_or_else(|| format!("probe {key} is for port {port}, which its container does not name"))?;
    if !(1..=u64::from(u16::MAX)).contains(&number) {
        return Err(format!("probe {key} is for port {number}; write one from 1 to 65535"));
    }
    asked.insert("port".to_owned(), json!(number));
    let mut original = Map::from_iter([(handler.to_owned(), Value::Object(asked))]);
    if let Some(timeout) = fields.get("timeoutSeconds").filter(|timeout| timeout.is_u64()) {
        original.insert("timeoutSeconds".to_owned(), timeout.clone());
    }
    for handler in HANDLERS {
        fields.remove(handler);
    }
    fields.insert("httpGet".to_owned(), json!({"path": path, "port": MONITOR_PORT, "scheme": "HTTP"}));
    taken.insert(key.to_owned(), Value::Object(original));
    Ok(())
}

/// Gives every header a value, and says whether all are headers.
fn headers(asked: &mut Map<String, Value>) -> bool {
    let Some(headers) = asked.get_mut("httpHeaders") else { return true };
    let Some(headers) = headers.as_array_mut() else { return false };
    headers.iter_mut().all(|header| {
        let Some(header) = header.as_object_mut() else { return false };
        let value = header.entry("value").or_insert(Value::Null);
        if value.is_null() {
            *value = json!("");
        }
        value.is_string() && header.get("name").is_some_and(Value::is_string)
    })
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
