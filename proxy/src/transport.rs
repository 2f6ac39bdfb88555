//! Byte streams as they come from the network: sockets, what has been read ahead of them, whose they are and where they
//! were meant to go.
//!
//! May import what counts and limits; imported by everything that reads or writes octets. It knows nothing of HTTP.

pub(crate) mod caller;
pub mod internal_listener;
pub mod limit;
pub mod listener;
pub mod own_listeners;
pub mod prefixed;
pub(crate) mod proxy_protocol;
pub mod redirection;
pub mod relay;
pub mod server_first;
pub mod socket;
pub mod stream;
pub mod unproven;
pub mod within;
pub mod write_coalescing;
