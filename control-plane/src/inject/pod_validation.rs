//! That a pod has the shape of one, before anything is read from it. The API server sends nothing else; a manifest in a file
//! may be anything.

use serde_json::Value;

/// Checks what the injector reads and changes. The error names the place.
pub(super) fn check(pod: &Value) -> Result<(), String> {
    let place = |of: &Value, path: &str, at: &str| match of {
        Value::Object(_) | Value::Null => Ok(()),
        other => Err(format!("{at}{path} is {}, not an object", kind(other))),
    };
    if !pod.is_object() {
        return Err(format!("it is {}, not an object", kind(pod)));
    }
    place(&pod["metadata"], "metadata", "")?;
    for field in ["labels", "annotations"] {
        place(&pod["metadata"][field], field, "metadata.")?;
    }
    let spec = &pod["spec"];
    if !spec.is_object() {
        return Err(format!("spec is {}, not an object", kind(spec)));
    }
    for field in ["containers", "initContainers", "ephemeralContainers", "volumes"] {
        list(&spec[field], &format!("spec.{field}"))?;
    }
    for container in super::all_containers(spec) {
        for field in ["env", "ports"] {
            list(&container[field], &format!("{field} of container {}", container["name"]))?;
        }
    }
    Ok(())
}

/// A list of objects, or nothing.
fn list(value: &Value, at: &str) -> Result<(), String> {
    match value {
        Value::Null => Ok(()),
        Value::Array(items) => match items.iter().find(|item| !item.is_object()) {
            Some(item) => Err(format!("{at} holds {}, not only objects", kind(item))),
            None => Ok(()),
        },
        other => Err(format!("{at} is {}, not a list", kind(other))),
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "missing",
        Value::Bool(_) => "true or false",
        Value::Number(_) => "a number",
        Value::String(_) => "text",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}
