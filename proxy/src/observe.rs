//! What is seen of the proxy: counters, the access log, explanations, and the servers that answer who asks.
//!
//! May import `snapshot`, `runtime` and what it describes; nothing that it does changes what becomes of a request.

pub mod access;
pub(crate) mod admin;
pub mod explain;
pub mod monitor;
pub mod stats;
