//! The choice between the two ways into the kernel.

use std::fmt;

use crate::error::Error;
use crate::plan::plan;
use crate::rules::{Inbound, Rules};
use crate::{iptables, nft, route};

/// Which way into the kernel to take.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum Backend {
    /// `nf_tables`, or iptables if the kernel has no `nf_tables`.
    #[default]
    Auto,
    /// `nf_tables`, by netlink.
    Nft,
    /// The programs of iptables.
    Iptables,
}

/// Which way was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Used {
    /// `nf_tables`, by netlink.
    Nft,
    /// The programs of iptables.
    Iptables,
}

impl fmt::Display for Used {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nft => "nf_tables",
            Self::Iptables => "iptables",
        })
    }
}

/// A rule that is in force, and what went through it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Shown {
    /// Its chain.
    pub chain: String,
    /// What it does, in words.
    pub words: String,
    /// Packets that it decided about; of redirected connections the first one only.
    pub packets: u64,
    /// Their bytes.
    pub bytes: u64,
}

/// Puts the rules in the place of those that are there. Says by which way.
pub fn apply(rules: &Rules, backend: Backend) -> Result<Used, Error> {
    let chains = plan(rules);
    let by_iptables = || iptables::apply(&chains, rules.families).map(|()| Used::Iptables);
    // Before the rules that need them: a packet that is marked and not routed would be lost.
    match rules.inbound {
        Inbound::Tproxy => route::add(rules.families)?,
        Inbound::Redirect => route::remove()?,
    }
    let used = match backend {
        Backend::Iptables => by_iptables()?,
        Backend::Nft => nft::apply(&chains).map(|()| Used::Nft)?,
        Backend::Auto => match nft::apply(&chains) {
            Ok(()) => Used::Nft,
            Err(nft @ (Error::NoNfTables(_) | Error::NoModule { .. })) => by_iptables()
                .map_err(|iptables| Error::Neither { nft: Box::new(nft), iptables: Box::new(iptables) })?,
            Err(error) => return Err(error),
        },
    };
    // What was applied the other way before would go on deciding.
    match used {
        Used::Nft => {
            iptables::remove()?;
        }
        Used::Iptables => {
            nft::remove()?;
        }
    }
    Ok(used)
}

/// Takes all rules away, whichever way they came. Says whether there were any.
pub fn remove() -> Result<bool, Error> {
    let nft = nft::remove()?;
    let iptables = iptables::remove()?;
    route::remove()?;
    Ok(nft || iptables)
}

/// The rules that are in force.
pub fn show() -> Result<Vec<Shown>, Error> {
    let mut shown = nft::show()?;
    shown.extend(iptables::show()?);
    Ok(shown)
}
