//! What changes of an object: field by field, without what the API server adds.

use std::fmt::Write as _;

use serde::Serialize;
use serde_json::Value;

/// A field that changes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(crate) struct Change {
    /// Where it is, such as `spec.template.spec.containers[control-plane].image`.
    pub(crate) field: String,
    /// What it says now; none if it is not there.
    pub(crate) before: Option<Value>,
    /// What it will say; none if it goes.
    pub(crate) after: Option<Value>,
}

/// Fields that are the API server's, or change whenever something else does.
const LEFT_OUT: [&str; 8] = [
    "status",
    "metadata.managedFields",
    "metadata.resourceVersion",
    "metadata.generation",
    "metadata.creationTimestamp",
    "metadata.uid",
    "metadata.selfLink",
    "metadata.annotations.deployment.kubernetes.io/revision",
];

/// What changes between two forms of an object.
pub(crate) fn changes(before: &Value, after: &Value) -> Vec<Change> {
    let mut found = Vec::new();
    compare(String::new(), Some(before), Some(after), &mut found);
    found
}

/// A field with what it says before and after.
type Part<'a> = (String, Option<&'a Value>, Option<&'a Value>);

fn compare(field: String, before: Option<&Value>, after: Option<&Value>, found: &mut Vec<Change>) {
    if before == after || LEFT_OUT.contains(&field.as_str()) {
        return;
    }
    let parts: Option<Vec<Part<'_>>> = match (before, after) {
        (Some(Value::Object(before)), Some(Value::Object(after))) => {
            let names = before.keys().chain(after.keys().filter(|name| !before.contains_key(*name)));
            Some(names.map(|name| (join(&field, name), before.get(name), after.get(name))).collect())
        }
        (Some(Value::Array(before)), Some(Value::Array(after))) => Some(items(&field, before, after)),
        _ => None,
    };
    match parts {
        Some(parts) => {
            for (field, before, after) in parts {
                compare(field, before, after, found);
            }
        }
        None => found.push(Change { field, before: before.cloned(), after: after.cloned() }),
    }
}

fn join(field: &str, name: &str) -> String {
    if field.is_empty() { name.to_owned() } else { format!("{field}.{name}") }
}

/// Items that have names are told apart by them, others by their place.
fn items<'a>(field: &str, before: &'a [Value], after: &'a [Value]) -> Vec<Part<'a>> {
    let name = |item: &'a Value| item["name"].as_str();
    if before.iter().chain(after).all(|item| name(item).is_some()) {
        let find = |list: &'a [Value], wanted: &str| list.iter().find(|item| name(item) == Some(wanted));
        let mut names: Vec<&str> = Vec::new();
        for item in before.iter().chain(after).filter_map(name) {
            if !names.contains(&item) {
                names.push(item);
            }
        }
        return names
            .into_iter()
            .map(|name| (format!("{field}[{name}]"), find(before, name), find(after, name)))
            .collect();
    }
    let count = before.len().max(after.len());
    (0..count).map(|place| (format!("{field}[{place}]"), before.get(place), after.get(place))).collect()
}

impl Change {
    /// For people; of a text of several lines, the lines that differ.
    pub(crate) fn text(&self) -> String {
        if let (Some(Value::String(before)), Some(Value::String(after))) = (&self.before, &self.after)
            && (before.contains('\n') || after.contains('\n'))
        {
            let mut text = format!("{}:", self.field);
            for (sign, lines, others) in [('-', before, after), ('+', after, before)] {
                for line in lines.lines().filter(|line| !others.lines().any(|other| other == *line)) {
                    // Writing to a String cannot fail.
                    let _ = write!(text, "\n  {sign} {line}");
                }
            }
            return text;
        }
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => format!("{}: {before} -> {after}", self.field),
            (None, Some(after)) => format!("{}: {after} is new", self.field),
            (Some(before), None) => format!("{}: {before} goes", self.field),
            (None, None) => self.field.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(before: &Value, after: &Value) -> Vec<String> {
        changes(before, after).iter().map(Change::text).collect()
    }

    #[test]
    fn fields_are_named_and_what_the_api_server_adds_is_left_out() {
        let before = json!({
            "metadata": {"name": "a", "resourceVersion": "1", "labels": {"v": "1", "old": "x"}},
            "spec": {"replicas": 2, "containers": [{"name": "b", "image": "i:1"}, {"name": "c"}], "ports": [1, 2]},
            "status": {"ready": 1},
        });
        let after = json!({
            "metadata": {"name": "a", "resourceVersion": "2", "labels": {"v": "2"}},
            "spec": {"replicas": 3, "containers": [{"name": "c"}, {"name": "b", "image": "i:2"}], "ports": [1]},
        });
        assert_eq!(
            told(&before, &after),
            [
                "metadata.labels.old: \"x\" goes",
                "metadata.labels.v: \"1\" -> \"2\"",
                "spec.containers[b].image: \"i:1\" -> \"i:2\"",
                "spec.ports[1]: 2 goes",
                "spec.replicas: 2 -> 3",
            ]
        );
        assert_eq!(told(&before, &before), [""; 0]);
    }

    #[test]
    fn of_long_texts_the_lines_that_differ_are_told() {
        let (before, after) =
            (json!({"data": {"s": "a: 1\nb: 2\n"}}), json!({"data": {"s": "a: 1\nb: 3\nc: 4\n"}}));
        assert_eq!(told(&before, &after), ["data.s:\n  - b: 2\n  + b: 3\n  + c: 4"]);
    }
}
