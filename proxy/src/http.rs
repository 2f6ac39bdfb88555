//! HTTP as it goes through the proxy: bodies, the proxy's own answers, upgrades.

pub mod answer;
pub mod body;
pub mod client;
pub mod deadline;
mod expectation;
mod guard;
pub mod interim;
pub mod local;
pub(crate) mod quiet;
pub mod recorded;
pub mod replay;
mod resting;
pub mod server;
pub(crate) mod spelling;
pub mod tee;
pub mod upgrade;
pub mod upload;
pub mod witness;
