//! weft/1 on a connection: the protocol of `weft-hop`, which does no I/O, driven on a worker.
//!
//! One task reads and writes a connection ([`driver`]); requests reach it through a [`link::Link`]. Nothing here
//! crosses threads.
//!
//! May import `http` for bodies; imported by `upstream` and `inbound`, the two ends of a hop.

pub mod body;
pub mod client;
pub mod driver;
pub mod link;
pub mod send;
pub mod server;

#[cfg(test)]
pub(crate) mod tests;
