//! What is in force of a file that was never right: nothing but its policies, as they say who is kept out. Those that can't
//! be read keep out whom they could have meant.

use std::sync::Arc;

use super::{Diagnostic, Resource, locate};
use crate::source::yaml::{self, Node};
use weft_resource::{Age, Kind, Severity, closed, decode, restricts};

/// The policies of a file, and what is told of those that can't be read.
#[derive(Debug, Default)]
pub(super) struct Unread {
    pub(super) policies: Vec<Resource>,
    pub(super) diagnostics: Vec<Diagnostic>,
}

impl Unread {
    /// Takes a resource if it is a policy.
    pub(super) fn take(&mut self, file: &str, node: &Node, age: Age) {
        let value = node.value();
        let kind = value.get("kind").and_then(serde_json::Value::as_str).unwrap_or_default();
        if !is_policy(kind) {
            return;
        }
        let whole = decode(&value, age.clone());
        let told = whole.problems.len();
        let decoded = closed(&value, age, whole);
        let problems = decoded.problems.into_iter().skip(told);
        self.diagnostics.extend(problems.map(|problem| locate(file, node, &decoded.head, problem)));
        let node = Arc::new(node.clone());
        self.policies.extend(decoded.object.map(|object| Resource { object: Arc::new(object), node }));
    }

    /// Takes the policies of a text that is no YAML: those of the documents that are, and of each other one that speaks of a
    /// policy one that can't be read, in each namespace that it names.
    pub(super) fn take_text(&mut self, file: &Arc<str>, text: &str) {
        let mut count = 0..;
        let mut age = || Age::Written(Arc::clone(file), count.next().unwrap_or_default());
        for document in text.split("\n---") {
            if let Ok(nodes) = yaml::parse(document) {
                for node in nodes.into_iter().flat_map(Node::into_resources) {
                    self.take(file, &node, age());
                }
                continue;
            }
            let plain = document.replace(['"', '\''], "");
            for kind in
                Kind::ALL.into_iter().filter(|kind| is_policy(kind.as_str()) && plain.contains(kind.as_str()))
            {
                for namespace in namespaces(&plain) {
                    let stand_in = format!(
                        "{{apiVersion: {}, kind: {kind}, metadata: {{name: unread, namespace: {namespace}}}}}",
                        kind.api_version()
                    );
                    let nodes = yaml::parse(&stand_in).unwrap_or_default();
                    for node in &nodes {
                        self.take(file, node, age());
                    }
                    self.diagnostics.push(Diagnostic {
                        severity: Severity::Error,
                        ..Diagnostic::of_file(
                            file,
                            format!("speaks of a {kind} that can't be read, and so it is closed in namespace {namespace}"),
                        )
                    });
                }
            }
        }
    }
}

fn is_policy(kind: &str) -> bool {
    Kind::ALL.into_iter().any(|known| restricts(known) && known.as_str() == kind)
}

/// The namespaces that a text without quotes names, or the default.
fn namespaces(text: &str) -> Vec<String> {
    let label = |after: &str| -> String {
        after.trim_start().chars().take_while(|it| it.is_ascii_alphanumeric() || *it == '-').collect()
    };
    let mut found: Vec<String> =
        text.split("namespace:").skip(1).map(label).filter(|it| !it.is_empty()).collect();
    if found.is_empty() {
        found.push("default".to_owned());
    }
    found.sort();
    found.dedup();
    found
}
