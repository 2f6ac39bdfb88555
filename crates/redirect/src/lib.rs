//! Leads the connections of a pod, or of a machine, to its proxy.
//!
//! [`Rules`] say what is redirected and what is not; [`nft`] and [`iptables`] put them into the kernel's packet filter.
//! The first speaks netlink to the kernel and needs no program beside, the second is for machines whose kernel has only
//! the older filter.

pub mod command;
mod error;
pub mod iptables;
mod netlink;
pub mod nft;
mod rules;

pub use error::Error;
pub use rules::{Chain, Condition, PortRange, Rule, Rules, Verdict};
