//! What is kept of a run: JSON with everything, Markdown for people.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::Context;
use serde::Serialize;

use crate::host::{self, Host};

/// Says where and how a report was made.
pub fn preamble(text: &mut String, host: &Host, command: &str) {
    let _infallible = writeln!(
        text,
        "{}; Linux {}, {} x {}, {:.0} GiB.\n\nTo repeat it:\n\n```sh\n{command}\n```\n",
        host.date, host.kernel, host.cores, host.processor, host.memory_gib
    );
}

/// Writes JSON and Markdown: to `folder`, a place of the repository, if they have a name, and else to
/// `bench/.work/results/<default>`; and prints the Markdown.
pub fn write(
    folder: &Path,
    name: Option<&str>,
    default: &str,
    report: &impl Serialize,
    markdown: &str,
) -> anyhow::Result<()> {
    let folder = if name.is_some() { folder.to_owned() } else { host::work_folder().join("results") };
    fs::create_dir_all(&folder).with_context(|| format!("creating {}", folder.display()))?;
    let json = serde_json::to_string_pretty(report)? + "\n";
    for (extension, text) in [("json", json.as_str()), ("md", markdown)] {
        let path = folder.join(format!("{}.{extension}", name.unwrap_or(default)));
        fs::write(&path, text).with_context(|| format!("writing {}", path.display()))?;
        eprintln!("wrote {}", path.display());
    }
    println!("{markdown}");
    Ok(())
}
