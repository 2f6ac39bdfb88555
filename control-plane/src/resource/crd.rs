//! Custom resource definitions of Weft's own kinds, made of the Rust types, so that a cluster validates what a file is
//! validated by.
//!
//! Kubernetes wants a *structural* schema: no references, no `null` types, enumerations as such.

use schemars::Schema;
use serde_json::{Map, Value, json};

use super::kind::OWN_GROUP;
use super::{Kind, own_schemas};

/// What Kubernetes' structural schemas know of what ours say.
const KEPT: [&str; 16] = [
    "description",
    "type",
    "properties",
    "required",
    "items",
    "enum",
    "pattern",
    "minimum",
    "maximum",
    "minLength",
    "maxLength",
    "minItems",
    "maxItems",
    "additionalProperties",
    "default",
    "maxProperties",
];

/// The definitions: the plural name and the resource of each.
pub fn custom_resource_definitions() -> Vec<(String, Value)> {
    own_schemas().into_iter().map(|(kind, schema)| (plural(kind), definition(kind, &schema))).collect()
}

fn plural(kind: Kind) -> String {
    let singular = kind.as_str().to_lowercase();
    match singular.strip_suffix('y') {
        Some(stem) => format!("{stem}ies"),
        None => format!("{singular}s"),
    }
}

fn definition(kind: Kind, schema: &Schema) -> Value {
    let plural = plural(kind);
    let root = schema.as_value();
    let spec = structural(root, root);
    let versions: Vec<Value> = kind
        .versions()
        .iter()
        .enumerate()
        .map(|(index, version)| {
            json!({
                "name": version,
                "served": true,
                "storage": index == 0,
                "subresources": { "status": {} },
                "schema": { "openAPIV3Schema": {
                    "type": "object",
                    "required": ["spec"],
                    "properties": {
                        "spec": spec,
                        "status": { "type": "object", "x-kubernetes-preserve-unknown-fields": true },
                    },
                } },
            })
        })
        .collect();
    json!({
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": { "name": format!("{plural}.{OWN_GROUP}") },
        "spec": {
            "group": OWN_GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind.as_str(),
                "plural": plural,
                "singular": kind.as_str().to_lowercase(),
                "categories": ["weft"],
            },
            "versions": versions,
        },
    })
}

/// A schema as Kubernetes takes it.
fn structural(schema: &Value, root: &Value) -> Value {
    let Some(own) = schema.as_object() else {
        return json!({ "x-kubernetes-preserve-unknown-fields": true });
    };
    let mut made = Map::new();
    for (key, value) in resolved(own, root) {
        let value = match key.as_str() {
            "properties" => {
                let fields = value.as_object().into_iter().flatten();
                Value::Object(fields.map(|(name, field)| (name.clone(), structural(field, root))).collect())
            }
            // Unknown fields are pruned by Kubernetes, or refused by whoever applies; `false` is not allowed here.
            "additionalProperties" if value == Value::Bool(false) => continue,
            "items" | "additionalProperties" => structural(&value, root),
            "type" => without_null(value),
            key if KEPT.contains(&key) => value,
            _ => continue,
        };
        if value != Value::Null {
            made.insert(key, value);
        }
    }
    Value::Object(made)
}

/// The keywords of a schema, with those of what it refers to.
fn resolved(own: &Map<String, Value>, root: &Value) -> Map<String, Value> {
    let mut made = Map::new();
    if let Some(target) =
        own.get("$ref").and_then(Value::as_str).and_then(|path| root.pointer(path.strip_prefix('#')?))
        && let Some(target) = target.as_object()
    {
        made.extend(resolved(target, root));
    }
    // Optional: the other choice is `null`.
    let any_of = own.get("anyOf").and_then(Value::as_array).into_iter().flatten();
    for choice in
        any_of.filter_map(Value::as_object).filter(|choice| choice.get("type") != Some(&json!("null")))
    {
        made.extend(resolved(choice, root));
    }
    let one_of = own.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    let names: Vec<Value> = one_of.filter_map(|choice| choice.get("const")).cloned().collect();
    if !names.is_empty() {
        made.insert("type".to_owned(), json!("string"));
        made.insert("enum".to_owned(), Value::Array(names));
    }
    let rest = own.iter().filter(|(key, _)| !matches!(key.as_str(), "$ref" | "anyOf" | "oneOf"));
    made.extend(rest.map(|(key, value)| (key.clone(), value.clone())));
    made
}

fn without_null(types: Value) -> Value {
    match types {
        Value::Array(types) => types.into_iter().find(|name| name != "null").unwrap_or_default(),
        other => other,
    }
}
