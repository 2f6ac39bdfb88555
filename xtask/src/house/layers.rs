//! Which folders of the proxy may import which.

use std::path::Path;

use super::modules::Graph;
use super::source;

/// The folders, and what each may import. What is not here is a new edge: see whether what is needed stands in the wrong room, before
/// it is added.
const ALLOWED: &[(&str, &[&str])] = &[
    ("access", &["clock", "http", "shared", "stats", "stream"]),
    ("admin", &["config", "control", "explain", "shared", "snapshot", "stats", "stream"]),
    ("args", &["access", "config", "monitor", "overload"]),
    ("clock", &[]),
    ("config", &["access", "http", "monitor", "overload", "shared"]),
    ("control", &["admin", "config", "monitor", "redirection", "shared", "snapshot", "stats"]),
    ("descriptors", &["stream"]),
    ("error", &[]),
    ("explain", &["snapshot"]),
    ("hop", &["clock", "error", "http", "unread"]),
    ("http", &["access", "clock", "error", "hop", "shared", "stats", "stream", "unread", "upstream"]),
    (
        "inbound",
        &[
            "access", "clock", "config", "error", "hop", "http", "limit", "outbound", "overload", "snapshot",
            "stats", "stream", "upstream", "worker",
        ],
    ),
    ("limit", &["clock", "error", "http", "snapshot", "stats", "upstream", "worker"]),
    ("monitor", &["admin", "clock", "stats"]),
    (
        "outbound",
        &[
            "clock", "error", "http", "limit", "overload", "shared", "snapshot", "stats", "stream",
            "upstream", "worker",
        ],
    ),
    ("overload", &["clock", "error", "stats"]),
    ("redirection", &["stats"]),
    ("run", &["args", "descriptors", "start"]),
    (
        "shared",
        &["access", "clock", "http", "overload", "redirection", "snapshot", "stats", "stream", "upstream"],
    ),
    ("snapshot", &["clock", "error"]),
    (
        "start",
        &[
            "access",
            "config",
            "control",
            "descriptors",
            "inbound",
            "outbound",
            "shared",
            "stats",
            "stream",
            "unread",
            "worker",
        ],
    ),
    ("stats", &["shared"]),
    ("stream", &["clock", "error", "shared", "stats", "upstream"]),
    ("unread", &[]),
    ("upstream", &["access", "clock", "error", "hop", "http", "shared", "snapshot", "stats", "stream"]),
    (
        "worker",
        &["clock", "descriptors", "http", "overload", "shared", "snapshot", "stats", "stream", "upstream"],
    ),
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
