//! The split that the YAML asks for: read as the mesh would, and edited as a person would.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use serde::Deserialize;

use super::scenario::Weights;

/// The service whose calls are split.
const SERVICE: &str = "reviews";
const VERSIONS: [&str; 3] = ["v1", "v2", "v3"];

/// Weights by version.
pub(super) type Split = BTreeMap<String, u32>;

#[derive(Deserialize)]
struct Resource {
    kind: Option<String>,
    #[serde(default)]
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    parent_refs: Vec<Named>,
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
struct Named {
    name: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Rule {
    matches: Vec<serde::de::IgnoredAny>,
    backend_refs: Vec<Backend>,
}

#[derive(Deserialize)]
struct Backend {
    name: String,
    weight: Option<u32>,
}

/// All YAML of a folder, by file name.
pub(super) fn texts(folder: &Path) -> io::Result<BTreeMap<String, String>> {
    let mut texts = BTreeMap::new();
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let is_yaml = Path::new(&name).extension().is_some_and(|it| it == "yaml" || it == "yml");
        if is_yaml && !name.starts_with('.') {
            texts.insert(name, fs::read_to_string(entry.path())?);
        }
    }
    Ok(texts)
}

/// The weights of the rule that calls without special headers take; `None` if no route speaks of reviews.
pub(super) fn asked<'a>(texts: impl IntoIterator<Item = &'a String>) -> Option<Split> {
    let resources =
        texts.into_iter().filter_map(|text| serde_saphyr::from_multiple::<Resource>(text).ok()).flatten();
    let mut routes = resources.filter(|resource| {
        resource.kind.as_deref() == Some("HTTPRoute")
            && resource.spec.parent_refs.iter().any(|parent| parent.name == SERVICE)
    });
    let rules = routes.next()?.spec.rules;
    let rule = rules.iter().find(|rule| rule.matches.is_empty()).or_else(|| rules.first())?;
    let weight = |backend: &Backend| (version(&backend.name), backend.weight.unwrap_or(1));
    let mut split = Split::new();
    for (version, weight) in rule.backend_refs.iter().map(weight) {
        *split.entry(version).or_default() += weight;
    }
    Some(split)
}

/// `v2` for `reviews-v2`.
fn version(backend: &str) -> String {
    let version = backend.strip_prefix(SERVICE).and_then(|rest| rest.strip_prefix('-'));
    version.unwrap_or(backend).to_owned()
}

/// Puts other weights into a text and leaves everything else as it is, comments included. `None` when the text does not
/// have a weight for each version, such as after a person has written something else.
pub(super) fn edited(text: &str, weights: Weights) -> Option<String> {
    let mut left: BTreeMap<String, u32> = VERSIONS
        .iter()
        .zip(weights)
        .map(|(version, weight)| (format!("{SERVICE}-{version}"), weight))
        .collect();
    let mut backend = None;
    let mut lines = Vec::new();
    for line in text.lines() {
        let item = line.trim_start().trim_start_matches("- ").trim_start();
        if let Some(name) = item.strip_prefix("name:") {
            backend = Some(name.trim().to_owned());
        }
        let weight = item.strip_prefix("weight:").and(backend.as_ref()).and_then(|name| left.remove(name));
        match (weight, line.find("weight:")) {
            (Some(weight), Some(at)) => {
                lines.push(format!("{}weight: {weight}", line.get(..at).unwrap_or_default()));
            }
            _ => lines.push(line.to_owned()),
        }
    }
    left.is_empty().then(|| lines.join("\n") + "\n")
}

/// `v1 50, v2 50`.
pub(super) fn short(split: &Split) -> String {
    let parts: Vec<_> = split.iter().map(|(version, weight)| format!("{version} {weight}")).collect();
    if parts.is_empty() { "no split".to_owned() } else { parts.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROUTES: &str = include_str!("../../../examples/mesh/routes.yaml");

    fn split(weights: &[(&str, u32)]) -> Split {
        weights.iter().map(|(version, weight)| ((*version).to_owned(), *weight)).collect()
    }

    #[test]
    fn the_split_of_the_example_is_read() {
        let found = asked([&ROUTES.to_owned()]).unwrap();
        assert_eq!(found, split(&[("v1", 50), ("v2", 30), ("v3", 20)]));
        assert_eq!(short(&found), "v1 50, v2 30, v3 20");
        assert_eq!(short(&Split::new()), "no split");
    }

    #[test]
    fn an_edit_changes_the_weights_and_nothing_else() {
        let text = edited(ROUTES, [5, 0, 95]).unwrap();
        assert_eq!(asked([&text]).unwrap(), split(&[("v1", 5), ("v2", 0), ("v3", 95)]));
        let changed: Vec<_> = ROUTES.lines().zip(text.lines()).filter(|(old, new)| old != new).collect();
        assert_eq!(changed.len(), 3);
        assert!(changed.iter().all(|(old, new)| old.contains("weight: ") && new.contains("weight: ")));
        assert_eq!(ROUTES.lines().count(), text.lines().count());
        assert_eq!(edited(&text, [50, 30, 20]).unwrap(), ROUTES);
    }

    #[test]
    fn what_a_person_has_written_anew_is_not_edited() {
        assert_eq!(edited("kind: HTTPRoute\n", [1, 2, 3]), None);
        assert_eq!(edited(&ROUTES.replace("reviews-v3", "other"), [1, 2, 3]), None);
    }

    #[test]
    fn other_routes_are_passed_over_and_the_general_rule_counts() {
        let testers = include_str!("../../../examples/splits/testers.yaml").to_owned();
        assert_eq!(asked([&testers]).unwrap(), split(&[("v1", 1)]));
        let elsewhere = ROUTES.replace("name: reviews\n      port", "name: ratings\n      port");
        assert_eq!(asked([&elsewhere]), None);
        assert_eq!(asked([&elsewhere, &testers]).unwrap(), split(&[("v1", 1)]));
        assert_eq!(asked([&"kind: [".to_owned()]), None);
    }
}
