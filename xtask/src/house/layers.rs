//! Which folders of the proxy may import which.

use std::path::Path;

use super::modules::Graph;
use super::source;

/// The folders, and what each may import. What is not here is a new edge: see whether what is needed stands in the wrong room, before
/// it is added.
const ALLOWED: &[(&str, &[&str])] = &[
    ("config", &["http", "observe", "runtime"]),
    ("control", &["config", "observe", "runtime", "snapshot", "transport"]),
    ("error", &[]),
    ("hop", &["error", "http", "runtime"]),
    ("http", &["error", "hop", "observe", "runtime", "transport", "upstream"]),
    (
        "inbound",
        &[
            "config",
            "error",
            "hop",
            "http",
            "observe",
            "outbound",
            "rate_limit",
            "runtime",
            "snapshot",
            "transport",
            "upstream",
        ],
    ),
    ("observe", &["config", "http", "runtime", "snapshot", "transport"]),
    ("outbound", &["error", "http", "observe", "rate_limit", "runtime", "snapshot", "transport", "upstream"]),
    ("rate_limit", &["error", "http", "observe", "runtime", "snapshot", "upstream"]),
    ("runtime", &["error", "http", "observe", "snapshot", "transport", "upstream"]),
    ("snapshot", &["error", "runtime"]),
    ("start", &["config", "control", "inbound", "observe", "outbound", "runtime", "transport"]),
    ("transport", &["error", "observe", "runtime", "upstream"]),
    ("upstream", &["error", "hop", "http", "observe", "runtime", "snapshot", "transport"]),
];

#[test]
fn folders_of_the_proxy_import_only_what_they_may() {
    let sources = source::read(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../proxy")).unwrap();
    let found: Vec<String> = Graph::of(&sources)
        .folders()
        .iter()
        .map(|(folder, imports)| {
            format!("{folder}: {}", imports.iter().cloned().collect::<Vec<_>>().join(" "))
        })
        .collect();
    let allowed: Vec<String> =
        ALLOWED.iter().map(|(folder, imports)| format!("{folder}: {}", imports.join(" "))).collect();
    assert_eq!(found, allowed, "the first list is what stands in proxy/src, the second what may");
}
