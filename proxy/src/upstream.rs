//! What the proxy sends to: connections, and the choice among a service's endpoints.

pub mod connect;
pub mod ejected;
pub mod links;
pub mod local;
mod named;
pub mod opening;
pub mod peer;
pub mod room;
pub mod service;
