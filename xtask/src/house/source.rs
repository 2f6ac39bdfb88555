//! The files of a crate, parsed.

use std::fs;
use std::path::Path;

use anyhow::Context;

/// A file of a crate.
pub(super) struct Source {
    /// Its path below the crate's folder.
    pub(super) path: String,
    /// The module that it is, from the crate's root; empty: the root itself.
    pub(super) module: Vec<String>,
    /// Whether only tests are made of it.
    pub(super) is_test: bool,
    pub(super) text: String,
    pub(super) file: syn::File,
}

impl Source {
    pub(super) fn lines(&self) -> usize {
        self.text.lines().count()
    }
}

/// Reads every file of `src` and `tests` in `folder`.
pub(super) fn read(folder: &Path) -> anyhow::Result<Vec<Source>> {
    let mut sources = Vec::new();
    for below in ["src", "tests"] {
        let folder = folder.join(below);
        if folder.is_dir() {
            walk(&folder, &folder, below, &mut sources)?;
        }
    }
    sources.sort_by(|one, other| one.path.cmp(&other.path));
    let of_tests: Vec<Vec<String>> = sources.iter().flat_map(modules_of_tests).collect();
    for source in &mut sources {
        source.is_test |= of_tests.iter().any(|module| source.module.starts_with(module));
    }
    Ok(sources)
}

/// The modules in files of their own that a file declares for tests alone.
fn modules_of_tests(source: &Source) -> Vec<Vec<String>> {
    let declared = source.file.items.iter().filter_map(|item| match item {
        syn::Item::Mod(module) if module.content.is_none() && is_for_tests(&module.attrs) => {
            Some(&module.ident)
        }
        _ => None,
    });
    declared.map(|name| source.module.iter().cloned().chain([name.to_string()]).collect()).collect()
}

fn walk(root: &Path, folder: &Path, below: &str, sources: &mut Vec<Source>) -> anyhow::Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.is_dir() {
            walk(root, &path, below, sources)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text = fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
            let file = syn::parse_file(&text).with_context(|| format!("parsing {}", path.display()))?;
            let within = path.strip_prefix(root)?.with_extension("");
            let mut module: Vec<String> =
                within.iter().map(|part| part.to_string_lossy().into_owned()).collect();
            if matches!(module.last().map(String::as_str), Some("lib" | "main" | "mod")) {
                module.pop();
            }
            let is_test = below == "tests" || module.iter().any(|part| part == "tests");
            let path = format!("{below}/{}", path.strip_prefix(root)?.display());
            sources.push(Source { path, module, is_test, text, file });
        }
    }
    Ok(())
}

/// Whether attributes say that something is for tests alone.
pub(super) fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("test")
            || (attribute.path().is_ident("cfg")
                && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test")))
    })
}
