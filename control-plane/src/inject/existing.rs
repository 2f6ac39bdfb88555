//! Whether the sidecar that a pod has already is the injector's. Who makes a pod writes its annotations and its containers:
//! neither a status annotation nor the name of a container says who put it there, so what is there is compared with what
//! the injector makes of the same pod.
//!
//! Another webhook may have changed a sidecar since. It may have set resources, hooks, variables of its own, and mounts
//! where tokens are; not the program, its options, its user or its probes.

use serde_json::Value;

use super::containers::{PROBES, TOKEN_FOLDER, volumes};
use super::{PROXY, REDIRECT, all_containers, items};

/// Fields that are the injector's alone.
const EXACT: [&str; 6] = ["image", "command", "args", "securityContext", "restartPolicy", "envFrom"];
/// Fields to which the API server adds defaults.
const COVERED: [&str; 2] = ["startupProbe", "readinessProbe"];
/// Variables that would change what the sidecar does: its own, and those of the dynamic linker.
const FOREIGN: [&str; 2] = ["WEFT_", "LD_"];
/// Where other webhooks, and the API server, mount tokens for every container.
const TOKENS: &str = "/var/run/secrets/";

/// Compares what a pod has with the containers that the injector would give it. The error names what differs.
pub(super) fn check(spec: &Value, proxy: &Value, redirect: Option<&Value>) -> Result<(), String> {
    compare(spec, PROXY, Some(proxy))?;
    compare(spec, REDIRECT, redirect)?;
    for expected in volumes() {
        let name = &expected["name"];
        if !items(spec, "volumes").any(|volume| covers(volume, &expected)) {
            return Err(format!("its volume {name} is not the injector's"));
        }
    }
    Ok(())
}

fn compare(spec: &Value, name: &str, expected: Option<&Value>) -> Result<(), String> {
    let mut found = all_containers(spec).filter(|container| container["name"] == name);
    match (found.next(), expected) {
        (None, None) => Ok(()),
        (None, Some(_)) => Err(format!("it has no container {name}")),
        (Some(_), None) => Err(format!("it has a container {name}, and is not redirected by one")),
        (Some(found), Some(expected)) => {
            same(found, expected).map_err(|problem| format!("of its container {name}, {problem}"))
        }
    }
}

fn same(found: &Value, expected: &Value) -> Result<(), String> {
    let differs =
        |field: &str| Err(format!("{field} is {}, where the injector has {}", found[field], expected[field]));
    for field in EXACT {
        if found[field] != expected[field] {
            return differs(field);
        }
    }
    for field in COVERED {
        if !covers(&found[field], &expected[field]) {
            return differs(field);
        }
    }
    variables(found, expected)?;
    mounts(found, expected)
}

fn variables(found: &Value, expected: &Value) -> Result<(), String> {
    let named = |container: &Value, name: &Value| -> Vec<Value> {
        items(container, "env").filter(|entry| entry["name"] == *name).cloned().collect()
    };
    for wanted in items(expected, "env").filter(|entry| entry["name"] != PROBES) {
        let name = &wanted["name"];
        if !matches!(&named(found, name)[..], [one] if covers(one, wanted)) {
            return Err(format!("the variable {name} is not the injector's"));
        }
    }
    for entry in items(found, "env") {
        let name = entry["name"].as_str().unwrap_or_default();
        let foreign = FOREIGN.iter().any(|prefix| name.starts_with(prefix));
        if foreign && name != PROBES && named(expected, &entry["name"]).is_empty() {
            return Err(format!("the variable {name} is not the injector's"));
        }
    }
    Ok(())
}

fn mounts(found: &Value, expected: &Value) -> Result<(), String> {
    let lacks = |wanted: &&Value| !items(found, "volumeMounts").any(|mount| covers(mount, wanted));
    if let Some(missing) = items(expected, "volumeMounts").find(lacks) {
        return Err(format!("the volume at {} is not mounted", missing["mountPath"]));
    }
    for mount in items(found, "volumeMounts") {
        let path = mount["mountPath"].as_str().unwrap_or_default();
        let own = items(expected, "volumeMounts").any(|wanted| covers(mount, wanted));
        let token = path.starts_with(TOKENS) && !path.starts_with(TOKEN_FOLDER) && !path.contains("..");
        if !own && !token {
            return Err(format!("a volume is mounted at {path:?}, which is not the injector's"));
        }
    }
    Ok(())
}

/// Whether everything of `wanted` is in `found`, which may have more fields.
fn covers(found: &Value, wanted: &Value) -> bool {
    match (found, wanted) {
        (Value::Object(found), Value::Object(wanted)) => {
            wanted.iter().all(|(field, value)| found.get(field).is_some_and(|found| covers(found, value)))
        }
        (Value::Array(found), Value::Array(wanted)) => {
            found.len() == wanted.len()
                && found.iter().zip(wanted).all(|(found, wanted)| covers(found, wanted))
        }
        _ => found == wanted,
    }
}
