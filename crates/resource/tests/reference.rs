//! `docs/reference/kinds.md` says of each field of our own kinds what the definitions say.

// Tests end where they go wrong, helpers included.
#![allow(clippy::unwrap_used)]

use std::fmt::Write as _;
use std::path::Path;

use serde_json::Value;
use weft_resource::custom_resource_definitions;
use weft_testkit::generated::assert_follows;

const HEAD: &str = "\
# Kinds

Weft's own resources (`mesh.weft.dev/v1alpha1`), as files and a cluster take them: each field, what it takes and what it is when
left out. This page follows from the types; [policies.md](../policies.md) and the [guide](../README.md) say how they are used.
Services, EndpointSlices and the routes of Gateway API are those of Kubernetes; [routes.md](../routes.md) says what of them is
obeyed.
";

/// A text in a cell of a table.
fn cell(text: &str) -> String {
    text.replace('\n', " ").replace('|', "\\|")
}

fn text<'a>(schema: &'a Value, key: &str) -> &'a str {
    schema.get(key).and_then(Value::as_str).unwrap_or_default()
}

/// What a field takes.
fn takes(schema: &Value) -> String {
    if let Some(choices) = schema.get("enum").and_then(Value::as_array) {
        let choices: Vec<String> =
            choices.iter().filter_map(Value::as_str).map(|choice| format!("`{choice}`")).collect();
        return choices.join(", ");
    }
    if schema.get("x-kubernetes-int-or-string").is_some() {
        return "number or text".to_owned();
    }
    let mut takes = match text(schema, "type") {
        "array" => format!("list of {}", takes(schema.get("items").unwrap_or(&Value::Null))),
        "object" if schema.get("additionalProperties").is_some() => "map of text".to_owned(),
        other => other.to_owned(),
    };
    let bound = |key: &str| schema.get(key).filter(|bound| bound.is_number());
    match (bound("minimum"), bound("maximum")) {
        (Some(least), Some(most)) => write!(takes, ", {least} to {most}").unwrap(),
        (Some(least), None) => write!(takes, ", from {least}").unwrap(),
        (None, Some(most)) => write!(takes, ", up to {most}").unwrap(),
        (None, None) => {}
    }
    if let Some(most) = bound("maxItems") {
        write!(takes, ", at most {most}").unwrap();
    }
    takes
}

fn fields(schema: &Value, path: &str, page: &mut String) {
    let required: Vec<&str> = schema
        .get("required")
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    for (name, field) in schema.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        let default = match field.get("default") {
            Some(default) => format!("`{default}`"),
            None if required.contains(&name.as_str()) => "required".to_owned(),
            None => String::new(),
        };
        let (takes, what) = (takes(field), cell(text(field, "description")));
        writeln!(page, "| `{path}` | {takes} | {} | {what} |", cell(&default)).unwrap();
        let inner = field.get("items").unwrap_or(field);
        let path = if field.get("items").is_some() { format!("{path}[]") } else { path };
        fields(inner, &path, page);
    }
}

fn page() -> String {
    let mut page = HEAD.to_owned();
    for (_, definition) in custom_resource_definitions() {
        let kind = text(definition.pointer("/spec/names").unwrap(), "kind");
        let version = definition.pointer("/spec/versions/0").unwrap();
        let schema = version.pointer("/schema/openAPIV3Schema").unwrap();
        writeln!(page, "\n## {kind}\n\n{}\n", text(schema, "description")).unwrap();
        page.push_str("| field | takes | default | what |\n|---|---|---|---|\n");
        fields(schema.pointer("/properties/spec").unwrap(), "", &mut page);
    }
    page
}

#[test]
fn the_reference_of_the_kinds_is_what_follows_from_the_types() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/reference/kinds.md");
    assert_follows(&file, &page(), "-p weft-resource --test reference");
}

#[test]
fn every_field_of_our_own_kinds_says_what_it_is() {
    for line in page().lines().filter(|line| line.starts_with("| `")) {
        assert!(!line.ends_with("|  |"), "no description: {line}");
    }
}
