//! What holds between two connections, and between one and a hostile peer.

mod drain;
mod exchange;
mod flow;
mod heads;
mod hostile;
mod interleaving;
mod limits;
mod skipping;
mod support;
mod turns;
