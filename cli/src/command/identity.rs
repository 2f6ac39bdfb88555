//! `weft identity`: whom the mesh believes no longer.

use std::process::ExitCode;

use weft_control_plane::Revocable;

use crate::revoke::{Action, List, Where, act, list};

const EXAMPLES: &str = "\
Examples:
  weft identity revoke spiffe://cluster.local/ns/shop/sa/web
  weft identity revoke shop/web --kubernetes
  weft identity restore shop/web
      once what was stolen can't be used any more: what was issued for it before stays revoked, so that its workloads
      need a new token, and pods nothing
  weft identity list --output json

Its certificates are refused by every peer as soon as the control plane has told them, by the control plane itself, and
at renewal; its registrations end.";

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Believe an identity no longer, whatever it shows
    #[command(after_help = EXAMPLES)]
    Revoke(Change),
    /// Believe it again, by what is issued from now on
    #[command(after_help = EXAMPLES)]
    Restore(Change),
    /// Print what is revoked
    #[command(after_help = EXAMPLES)]
    List(List),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Change {
    /// SPIFFE id, or NAMESPACE/ACCOUNT
    #[arg(value_name = "IDENTITY")]
    identity: Revocable,
    #[command(flatten)]
    place: Where,
}

pub(crate) fn run(command: Command) -> anyhow::Result<ExitCode> {
    match command {
        Command::Revoke(Change { identity, place }) => act(&place, &identity, Action::Revoke),
        Command::Restore(Change { identity, place }) => act(&place, &identity, Action::Restore),
        Command::List(args) => list(&args, |what| matches!(what, Revocable::Identity { .. })),
    }
}
