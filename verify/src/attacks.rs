//! Attacks on a mesh of real processes.

use clap::Args;

mod authority;
mod exhaustion;
mod external;
mod framing;
mod network;
mod outbound;
mod paths;
mod peer;
mod policies;
mod registration;
mod report;
mod revocation;
mod stranger;
mod upstream;

use report::Report;

/// What to attack.
#[derive(Clone, Debug, Args)]
pub(crate) struct Attacks {
    /// A group of attempts; repeatable [default: all]
    #[arg(long = "only", value_name = "GROUP", value_parser = GROUPS)]
    only: Vec<String>,
}

/// The groups, in the order in which they run.
const GROUPS: [&str; 11] = [
    "stranger",
    "outbound",
    "upstream",
    "framing",
    "paths",
    "registration",
    "revocation",
    "policies",
    "external",
    "exhaustion",
    "authority",
];

/// Runs the chosen groups. Whether all attacks failed.
pub(crate) async fn run(options: Attacks) -> anyhow::Result<bool> {
    network::enter()?;
    let mut report = Report::default();
    let chosen = |group: &&str| options.only.is_empty() || options.only.iter().any(|only| only == group);
    for group in GROUPS.iter().filter(|group| chosen(group)) {
        println!("\n{group}");
        match *group {
            "stranger" => stranger::run(&mut report).await?,
            "outbound" => outbound::run(&mut report).await?,
            "upstream" => upstream::run(&mut report).await?,
            "framing" => framing::run(&mut report).await?,
            "paths" => paths::run(&mut report).await?,
            "registration" => registration::run(&mut report).await?,
            "revocation" => revocation::run(&mut report).await?,
            "policies" => policies::run(&mut report).await?,
            "external" => external::run(&mut report).await?,
            "exhaustion" => exhaustion::run(&mut report).await?,
            _ => authority::run(&mut report).await?,
        }
    }
    Ok(report.finish())
}
