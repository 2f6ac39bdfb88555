//! HTTP as it goes through the proxy: bodies, the proxy's own answers, upgrades.

pub mod answer;
pub mod authority;
pub mod body;
pub mod client;
pub mod deadline;
mod drive;
mod expectation;
mod guard;
pub mod interim;
pub(crate) mod limits;
pub mod local;
pub(crate) mod quiet;
pub mod recorded;
pub mod replay;
pub mod replay_memory;
mod resting;
pub mod server;
pub(crate) mod spelling;
pub mod tee;
pub mod upgrade;
pub mod upload;
pub mod witness;
