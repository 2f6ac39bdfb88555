//! Numbers of the code, crate by crate.

use std::path::Path;

use anyhow::Context;
use source::Source;

mod functions;
mod items;
#[cfg(test)]
mod layers;
mod modules;
mod source;

/// Longest file that needs no second look, in lines.
const FILE_LINES: usize = 400;
/// Longest function that needs no second look, in lines.
const FUNCTION_LINES: usize = 60;

/// What is printed.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Name the files, functions and circles that the numbers are about
    #[arg(long)]
    names: bool,
    /// A crate's folder; repeatable [default: all]
    #[arg(long = "crate", value_name = "FOLDER")]
    crates: Vec<String>,
}

/// The folders of the workspace's crates, as its manifest names them.
fn crates(root: &Path) -> anyhow::Result<Vec<String>> {
    let manifest = std::fs::read_to_string(root.join("Cargo.toml"))?;
    let members = manifest.split_once("members = [").and_then(|(_, rest)| rest.split_once(']'));
    let (members, _) = members.context("Cargo.toml has no list of members")?;
    Ok(members.split('"').skip(1).step_by(2).map(str::to_owned).collect())
}

/// Prints a table, and with `--names` what its numbers are about.
pub(crate) fn run(root: &Path, args: &Args) -> anyhow::Result<()> {
    let chosen = |folder: &&String| args.crates.is_empty() || args.crates.contains(folder);
    println!(
        "| crate | lines | of tests | longest file | files > {FILE_LINES} | longest function | functions > {FUNCTION_LINES} | public items documented | examples | unwrap | largest circle of modules |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    let mut names = String::new();
    for folder in crates(root)?.iter().filter(chosen) {
        let sources = source::read(&root.join(folder))?;
        let functions = functions::of(&sources);
        let items = items::count(&sources);
        let circles = modules::Graph::of(&sources).circles();
        let lines = |tests: bool| -> usize {
            sources.iter().filter(|source| source.is_test == tests).map(Source::lines).sum()
        };
        let long_files: Vec<_> = sources.iter().filter(|source| source.lines() > FILE_LINES).collect();
        let long_functions: Vec<_> =
            functions.iter().filter(|function| function.lines > FUNCTION_LINES).collect();
        println!(
            "| `{folder}` | {} | {} | {} | {} | {} | {} | {}/{} | {} | {} | {} |",
            lines(false),
            lines(true),
            sources.iter().map(Source::lines).max().unwrap_or_default(),
            long_files.len(),
            functions.iter().map(|function| function.lines).max().unwrap_or_default(),
            long_functions.len(),
            items.documented,
            items.public,
            items.examples,
            items.unwraps,
            circles.first().map_or(0, Vec::len),
        );
        let list = |what: &str, all: Vec<String>| match all.as_slice() {
            [] => String::new(),
            all => format!("\n{folder}: {what}\n  {}\n", all.join("\n  ")),
        };
        names += &list(
            "long files",
            long_files.iter().map(|source| format!("{} {}", source.lines(), source.path)).collect(),
        );
        names += &list(
            "long functions",
            long_functions
                .iter()
                .map(|function| format!("{} {} {}", function.lines, function.path, function.name))
                .collect(),
        );
        names += &list(
            "circles",
            circles.iter().map(|circle| format!("{} {}", circle.len(), circle.join(" "))).collect(),
        );
    }
    if args.names {
        print!("{names}");
    }
    Ok(())
}
