//! The data plane of Weft: a sidecar proxy.
//!
//! A request goes through these modules, in this order; nothing decided early is found out again later:
//!
//! ```text
//! transport::listener -> outbound -> snapshot (destination, route) -> upstream (endpoint, connection) -> hop
//!        hop -> inbound -> (authorization) -> http::client -> the application
//! ```
//!
//! Each worker is one thread with a runtime of its own ([`runtime::worker`]); the control thread ([`control`]) turns what the
//! control plane says into the [`snapshot`] that all workers read.

// A failure is rare and large: results that carry it on every request carry a box.
#![allow(clippy::unnecessary_box_returns)]

pub mod config;
pub mod control;
pub mod error;
pub mod hop;
pub mod http;
pub mod inbound;
pub mod observe;
pub mod outbound;
mod rate_limit;
pub mod runtime;
pub mod snapshot;
pub mod start;
pub mod transport;
pub mod upstream;

pub use config::args::Args;
pub use config::{Offer, ProxyConfig, Upstream};
pub use start::run::run;
pub use start::{Addresses, Running, start};

#[cfg(test)]
mod tests;
