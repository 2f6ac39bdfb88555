//! What holds between two connections, and between one and a hostile peer.

// What helps the tests fails as they do.
#![allow(clippy::unwrap_used)]

mod document;
mod drain;
mod exchange;
mod flow;
mod framing;
mod heads;
mod hostile;
mod interleaving;
mod limits;
mod skipping;
mod support;
mod turns;
