//! Files of the repository that follow from the code: definitions and references.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

/// Set it to write the files instead of comparing them.
const WRITE: &str = "WEFT_WRITE";

/// Fails if `file` does not hold `text`; with `WEFT_WRITE=1` writes it first. `command` is what follows `cargo test` to come here.
///
/// # Panics
///
/// As a test does.
pub fn assert_follows(file: &Path, text: &str, command: &str) {
    if std::env::var_os(WRITE).is_some() {
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        }
        fs::write(file, text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
    let kept = fs::read_to_string(file).unwrap_or_default();
    assert!(
        kept == text,
        "{} is not what follows from the code; to write it: {WRITE}=1 cargo test {command}\nfirst difference: {}",
        file.display(),
        first_difference(&kept, text)
    );
}

fn first_difference(kept: &str, text: &str) -> String {
    let differing = kept.lines().zip(text.lines()).enumerate().find(|(_, (kept, new))| kept != new);
    match differing {
        Some((line, (kept, new))) => format!("line {}: kept {kept:?}, new {new:?}", line + 1),
        None => format!("{} lines kept, {} new", kept.lines().count(), text.lines().count()),
    }
}

/// A page about the metrics of an exposition (OpenMetrics): name, type, labels and help of each family, after `head`.
pub fn metrics_page(head: &str, exposition: &str) -> String {
    let mut page = head.to_owned() + "\n| metric | type | labels | what |\n|---|---|---|---|\n";
    let families = exposition.split("# HELP ").skip(1);
    for family in families {
        let mut lines = family.lines();
        let Some((name, help)) = lines.next().and_then(|line| line.split_once(' ')) else { continue };
        let about = |what: &str| {
            family.lines().find_map(|line| {
                line.strip_prefix("# ")?.strip_prefix(what)?.strip_prefix(&format!(" {name} "))
            })
        };
        let kind = about("TYPE").unwrap_or("unknown");
        let suffix = if kind == "counter" { "_total" } else { "" };
        let labels: Vec<String> = labels(family).into_iter().map(|label| format!("`{label}`")).collect();
        let help = help.trim_end_matches('.').replace('|', "\\|");
        let _infallible = writeln!(page, "| `{name}{suffix}` | {kind} | {} | {help} |", labels.join(", "));
    }
    page
}

/// Names of the labels of a family's series, but for the bounds of buckets.
fn labels(family: &str) -> Vec<&str> {
    let series = family.lines().find(|line| !line.starts_with('#') && line.contains('{'));
    let Some((_, rest)) = series.and_then(|series| series.split_once('{')) else { return Vec::new() };
    let mut names = Vec::new();
    let mut rest = rest;
    while let Some((name, after)) = rest.split_once("=\"") {
        names.push(name.trim_start_matches(','));
        // A value ends at the first quote that no backslash is before.
        let mut escaped = false;
        let end = after.find(|c| {
            let ends = c == '"' && !escaped;
            escaped = c == '\\' && !escaped;
            ends
        });
        rest = end.and_then(|end| after.get(end + 1..)).unwrap_or_default();
        if rest.starts_with('}') {
            break;
        }
    }
    names.retain(|name| *name != "le");
    names
}
