//! Files of the repository that follow from the code: definitions and references.

use std::fs;
use std::path::Path;

/// Set it to write the files instead of comparing them.
const WRITE: &str = "WEFT_WRITE";

/// Fails if `file` does not hold `text`; with `WEFT_WRITE=1` writes it first. `test` is what follows `cargo test` to come here.
///
/// # Panics
///
/// As a test does.
pub fn assert_follows(file: &Path, text: &str, test: &str) {
    if std::env::var_os(WRITE).is_some() {
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        }
        fs::write(file, text).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    }
    let kept = fs::read_to_string(file).unwrap_or_default();
    assert!(
        kept == text,
        "{} is not what follows from the code; to write it: {WRITE}=1 cargo test {test}\nfirst difference: {}",
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
