//! The custom resource definitions in `k8s/crds` are those that follow from the Rust types.

// Tests end where they go wrong, helpers included.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use serde_json::Value;
use weft_resource::custom_resource_definitions;
use weft_testkit::generated::assert_follows;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../k8s/crds")
}

/// YAML in which every scalar is written as in JSON.
fn yaml(value: &Value, indent: usize, text: &mut String) {
    let pad = " ".repeat(indent);
    match value {
        Value::Object(fields) if !fields.is_empty() => {
            for (name, value) in fields {
                write!(text, "\n{pad}{name}:").unwrap();
                yaml(value, indent + 2, text);
            }
        }
        Value::Array(items) if items.iter().any(Value::is_object) => {
            for item in items {
                let mut inner = String::new();
                yaml(item, indent + 2, &mut inner);
                write!(text, "\n{pad}- {}", inner.trim_start()).unwrap();
            }
        }
        scalar => write!(text, " {scalar}").unwrap(),
    }
}

fn written(definition: &Value) -> String {
    let mut text = String::new();
    yaml(definition, 0, &mut text);
    text.trim_start().to_owned() + "\n"
}

#[test]
fn the_files_are_what_follows_from_the_types() {
    for (plural, definition) in custom_resource_definitions() {
        let file = folder().join(format!("{plural}.yaml"));
        assert_follows(&file, &written(&definition), "-p weft-resource --test crds");
    }
}

#[test]
fn schemas_are_structural() {
    fn check(schema: &Value, path: &str) {
        let fields = schema.as_object().unwrap_or_else(|| panic!("{path}: {schema}"));
        for key in ["$ref", "$defs", "anyOf", "oneOf", "const", "title"] {
            assert!(!fields.contains_key(key), "{path}: {key}");
        }
        let free = fields.contains_key("x-kubernetes-preserve-unknown-fields");
        assert!(free || fields.get("type").is_some_and(Value::is_string), "{path}: {schema}");
        for (name, field) in fields.get("properties").and_then(Value::as_object).into_iter().flatten() {
            check(field, &format!("{path}.{name}"));
        }
        for key in ["items", "additionalProperties"] {
            if let Some(inner) = fields.get(key) {
                check(inner, &format!("{path}.{key}"));
            }
        }
    }
    for (plural, definition) in custom_resource_definitions() {
        let schema = definition.pointer("/spec/versions/0/schema/openAPIV3Schema").unwrap();
        check(schema, &plural);
    }
}
