//! Custom resource definitions of Weft's own kinds, made of the Rust types, so that a cluster validates what a file is
//! validated by.
//!
//! Kubernetes wants a *structural* schema: no references, no `null` types, enumerations as such.

use schemars::Schema;
use serde_json::{Map, Value, json};

use super::kind::OWN_GROUP;
use super::{Kind, own_schemas};

/// What Kubernetes' structural schemas know of what ours say.
const KEPT: [&str; 20] = [
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
    "minProperties",
    "x-kubernetes-validations",
    "x-kubernetes-list-type",
    "x-kubernetes-list-map-keys",
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
    let about =
        spec.get("description").and_then(Value::as_str).unwrap_or_default().replace("'s `spec`:", ":");
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
                "additionalPrinterColumns": columns(kind),
                "schema": { "openAPIV3Schema": {
                    "type": "object",
                    "description": about,
                    "required": ["spec"],
                    "properties": { "spec": spec, "status": status() },
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
                "shortNames": [short_name(kind)],
                "categories": ["weft"],
            },
            "versions": versions,
        },
    })
}

/// What `kubectl get` may call a kind: with a `w` before, so that it is nobody else's.
fn short_name(kind: Kind) -> &'static str {
    match kind {
        Kind::AuthorizationPolicy => "wauth",
        Kind::BackendPolicy => "wbp",
        Kind::ExternalService => "wext",
        Kind::FaultFilter => "wfault",
        Kind::MeshPolicy => "wmp",
        Kind::RateLimitFilter => "wrate",
        _ => unreachable!("{kind} is not one of our own kinds"),
    }
}

/// What `kubectl get` shows: what tells one from another, whether it is in force, and its age. The last number is 1 for
/// what only `--output wide` shows.
fn columns(kind: Kind) -> Vec<Value> {
    const TEXT: &str = "string";
    const NUMBER: &str = "integer";
    let own: &[(&str, &str, &str, u8)] = match kind {
        Kind::AuthorizationPolicy => {
            &[("Action", TEXT, ".spec.action", 0), ("Selector", TEXT, ".spec.selector.matchLabels", 0)]
        }
        Kind::BackendPolicy => &[
            ("Target", TEXT, ".spec.targetRefs[0].name", 0),
            ("Balancing", TEXT, ".spec.balancing.algorithm", 0),
            ("Max-Requests", NUMBER, ".spec.limits.maxRequests", 1),
        ],
        Kind::ExternalService => {
            &[("Hosts", TEXT, ".spec.hosts", 0), ("Port", NUMBER, ".spec.ports[0].port", 0)]
        }
        Kind::FaultFilter => &[
            ("Delay", TEXT, ".spec.delay.duration", 0),
            ("Status", NUMBER, ".spec.abort.status", 0),
            ("gRPC", NUMBER, ".spec.abort.grpcStatus", 1),
        ],
        Kind::MeshPolicy => &[
            ("TLS", TEXT, ".spec.tls.mode", 0),
            ("Default", TEXT, ".spec.defaultAuthorization", 0),
            ("Selector", TEXT, ".spec.selector.matchLabels", 0),
        ],
        Kind::RateLimitFilter => {
            &[("Requests", NUMBER, ".spec.requests", 0), ("Interval", TEXT, ".spec.interval", 0)]
        }
        _ => unreachable!("{kind} is not one of our own kinds"),
    };
    let ends: [(&str, &str, &str, u8); 2] = [
        ("Accepted", TEXT, r#".status.conditions[?(@.type=="Accepted")].status"#, 0),
        ("Age", "date", ".metadata.creationTimestamp", 0),
    ];
    let all = own.iter().chain(&ends);
    all.map(|(name, kind, path, priority)| {
        json!({ "name": name, "type": kind, "jsonPath": path, "priority": priority })
    })
    .collect()
}

/// A status: conditions as everywhere in Kubernetes (`metav1.Condition`), of which `Accepted` is ours.
fn status() -> Value {
    let text = |most: u32| json!({ "type": "string", "maxLength": most });
    json!({
        "type": "object",
        "description": "What became of it.",
        "properties": { "conditions": {
            "type": "array",
            "description": "`Accepted` says whether the mesh goes by it, and if not, why.",
            "maxItems": 8,
            "x-kubernetes-list-type": "map",
            "x-kubernetes-list-map-keys": ["type"],
            "items": {
                "type": "object",
                "required": ["type", "status", "lastTransitionTime", "reason", "message"],
                "properties": {
                    "type": text(316),
                    "status": { "type": "string", "enum": ["True", "False", "Unknown"] },
                    "observedGeneration": { "type": "integer", "format": "int64", "minimum": 0 },
                    "lastTransitionTime": { "type": "string", "format": "date-time" },
                    "reason": text(1024),
                    "message": text(32768),
                },
            },
        } },
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
    // What is left out is an empty list to us. As a default it would have to hold what the list's own minimum asks for.
    if made.get("minItems").and_then(Value::as_u64) > Some(0) && made.get("default") == Some(&json!([])) {
        made.remove("default");
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
