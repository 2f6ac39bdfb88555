//! What the proxy sends to: connections, and the choice among a service's endpoints.

mod adaptive;
pub mod application;
pub mod connect;
pub mod ejected;
pub mod links;
pub mod load;
pub mod local;
mod named;
pub mod opening;
pub mod passthrough;
pub mod peer;
pub mod room;
pub mod service;
pub mod way;
