//! Byte streams as they come from the network: sockets, what has been read ahead of them, whose they are and where they
//! were meant to go.

pub(crate) mod announced;
pub(crate) mod caller;
pub mod door;
pub mod gathered;
pub mod limit;
pub mod listener;
pub mod own;
pub mod prefixed;
pub mod race;
pub mod redirection;
pub mod relay;
pub mod socket;
pub mod strangers;
pub mod transport;
pub mod within;
