//! The data plane of Weft: a sidecar proxy.
//!
//! A request goes through these modules, in this order; nothing decided early is found out again later:
//!
//! ```text
//! stream::listener -> outbound -> snapshot (destination, route) -> upstream (endpoint, connection) -> hop
//!        hop -> inbound -> (authorization) -> http::client -> the application
//! ```
//!
//! Each worker is one thread with a runtime of its own ([`worker`]); the control thread ([`control`]) turns what the
//! control plane says into the [`snapshot`] that all workers read.

// A failure is rare and large: results that carry it on every request carry a box.
#![allow(clippy::unnecessary_box_returns)]

pub mod access;
mod admin;
pub mod args;
pub mod clock;
pub mod config;
pub mod control;
mod descriptors;
pub mod error;
pub mod explain;
pub mod hop;
pub mod http;
pub mod inbound;
mod limit;
pub mod monitor;
pub mod outbound;
pub mod overload;
pub mod redirection;
pub mod run;
pub mod shared;
pub mod snapshot;
pub mod start;
pub mod stats;
pub mod stream;
pub mod unread;
pub mod upstream;
pub mod worker;

pub use args::Args;
pub use config::{Offer, ProxyConfig, Upstream};
pub use run::run;
pub use start::{Addresses, Running, start};

#[cfg(test)]
mod tests;
