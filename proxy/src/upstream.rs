//! What the proxy sends to: connections, and the choice among a service's endpoints.
//!
//! May import `http`, `hop`, `transport` and what is below; imported by both sides. It does not know who sends.

mod adaptive;
pub mod application;
pub mod circuit_breaker;
pub mod connect;
mod dns;
pub mod ejected;
pub mod hop_pool;
pub mod load;
pub mod local;
pub mod passthrough;
pub mod peer;
pub mod service;
pub mod shared_attempt;
pub mod way;
