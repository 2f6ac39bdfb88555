//! What was chosen otherwise than by default, kept in the cluster: an upgrade keeps it, and takes new defaults for the rest.

use serde_json::{Map, Value, json};

use super::overrides::merged;
use super::render::{labelled, metadata};
use super::{Values, defaults, yaml};

/// Name of the `ConfigMap`.
pub(super) const NAME: &str = "weft-install";
/// Its key.
const KEY: &str = "values.yaml";

/// The `ConfigMap` of these values.
pub(super) fn document(values: &Values) -> Value {
    let json = |values: &Values| serde_json::to_value(values).expect("values are JSON");
    let chosen = difference(&json(&defaults()), &json(values)).unwrap_or_else(|| json!({}));
    labelled(json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": metadata(NAME),
        "data": { KEY: yaml::document(&chosen) },
    }))
}

/// The defaults of this version with what a `ConfigMap` keeps. The error says what can't be kept, and what to do.
pub(super) fn kept(map: &Value) -> Result<Values, String> {
    let wrong = |problem: String| {
        format!(
            "the values in ConfigMap {NAME} in namespace {} can't be kept: {problem}; \
             leave them with --reset-values, and choose anew with --set or --values",
            super::NAMESPACE
        )
    };
    let text = map["data"][KEY].as_str().ok_or_else(|| wrong(format!("it has no {KEY}")))?;
    let chosen: Value = serde_saphyr::from_str(text).map_err(|error| wrong(error.to_string()))?;
    let chosen = if chosen.is_null() { json!({}) } else { chosen };
    merged(&defaults(), chosen).map_err(|error| wrong(error.to_string()))
}

/// What makes `chosen` of `base` when it is merged into it; none when they are the same.
fn difference(base: &Value, chosen: &Value) -> Option<Value> {
    let (Value::Object(base), Value::Object(chosen)) = (base, chosen) else {
        return (base != chosen).then(|| chosen.clone());
    };
    let changed = chosen.iter().filter_map(|(name, value)| {
        let difference = match base.get(name) {
            Some(base) => difference(base, value)?,
            None => value.clone(),
        };
        Some((name.clone(), difference))
    });
    let gone = base.keys().filter(|name| !chosen.contains_key(*name));
    let made: Map<String, Value> = changed.chain(gone.map(|name| (name.clone(), Value::Null))).collect();
    (!made.is_empty()).then_some(Value::Object(made))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_chosen_is_kept_and_comes_back() {
        let mut values = defaults();
        assert_eq!(document(&values)["data"][KEY].as_str().unwrap().trim(), "{}");
        assert_eq!(kept(&document(&values)).unwrap(), values);
        values.control_plane.replicas = 3;
        values.proxy.skip_outbound_ports = vec![25];
        values.control_plane.node_selector.insert("kubernetes.io/os".to_owned(), "linux".to_owned());
        values.proxy.resources.limits.clear();
        let map = document(&values);
        let text = map["data"][KEY].as_str().unwrap();
        assert!(text.contains("replicas: 3") && !text.contains("trustDomain"), "{text}");
        assert_eq!(kept(&map).unwrap(), values);
    }

    #[test]
    fn what_this_version_does_not_know_is_named_with_the_way_out() {
        let map = json!({"data": {KEY: "proxy: {colour: blue}"}});
        let said = kept(&map).unwrap_err();
        assert!(said.contains("proxy.colour") && said.contains("--reset-values"), "{said}");
        assert!(kept(&json!({})).unwrap_err().contains("it has no values.yaml"));
    }
}
