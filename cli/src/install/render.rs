//! The documents of an installation, in the order in which they are to be applied.

mod access;
mod cni;
mod injector;
mod monitoring;
mod settings;
mod workload;

use serde_json::{Value, json};
use weft_resource::custom_resource_definitions;

use super::{CONTROL_PLANE, INJECT_LABEL, NAMESPACE, VERSION, Values};

/// Everything that the values ask for: definitions and namespace first, what admits pods last.
pub(crate) fn documents(values: &Values) -> Vec<Value> {
    let mut made = Vec::new();
    if values.crds.install {
        made.extend(custom_resource_definitions().into_iter().map(|(_, definition)| labelled(definition)));
    }
    if values.namespace.create {
        made.push(namespace(values));
    }
    made.extend(access::documents(values));
    made.push(settings::document(values));
    made.extend(workload::documents(values));
    made.extend(cni::documents(values));
    made.extend(monitoring::documents(values));
    made.push(injector::document(values));
    made
}

fn namespace(values: &Values) -> Value {
    // The CNI plugin writes to the node.
    let level = if values.cni.enabled { "privileged" } else { "restricted" };
    labelled(json!({
        "apiVersion": "v1",
        "kind": "Namespace",
        "metadata": { "name": NAMESPACE, "labels": {
            INJECT_LABEL: "disabled",
            "pod-security.kubernetes.io/enforce": level,
        } },
    }))
}

/// `metadata` of what is in the mesh's namespace.
pub(super) fn metadata(name: &str) -> Value {
    json!({ "name": name, "namespace": NAMESPACE })
}

/// What selects the control plane's pods; never changes.
fn selected() -> Value {
    json!({ "app.kubernetes.io/name": CONTROL_PLANE, "app.kubernetes.io/part-of": "weft" })
}

/// Adds the labels that everything has.
pub(super) fn labelled(mut document: Value) -> Value {
    if let Some(metadata) = document.get_mut("metadata").and_then(Value::as_object_mut)
        && let Some(labels) = metadata.entry("labels").or_insert_with(|| json!({})).as_object_mut()
    {
        labels.insert("app.kubernetes.io/part-of".to_owned(), json!("weft"));
        labels.insert("app.kubernetes.io/version".to_owned(), json!(VERSION));
    }
    document
}

/// Leaves out what is empty.
fn unless_empty(into: &mut Value, name: &str, value: impl serde::Serialize) {
    let value = serde_json::to_value(value).expect("values are JSON");
    let empty = match &value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(fields) => fields.is_empty(),
        _ => false,
    };
    if !empty && let Some(fields) = into.as_object_mut() {
        fields.insert(name.to_owned(), value);
    }
}

#[cfg(test)]
mod tests;
