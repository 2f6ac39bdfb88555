//! HTTP as it goes through the proxy: bodies, the proxy's own answers, upgrades.
//!
//! May import `transport` and `upstream` (a body holds the connection that it comes from); imported by both sides.

pub mod authority;
pub mod body;
pub mod client;
pub mod deadline;
mod drive;
pub mod exchange;
mod expectation;
mod guard;
pub(crate) mod header_case;
mod idle_connection;
pub(crate) mod idle_requests;
pub mod informational;
pub(crate) mod limits;
pub mod local;
pub mod local_reply;
pub mod replay;
pub mod replay_memory;
pub mod server;
pub mod tee;
pub mod upgrade;
pub mod upload;
pub mod violation_recorder;
