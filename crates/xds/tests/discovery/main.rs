//! The server and the client, joined in process, with paused time: an idle moment is when the clock moves on.

mod delivery;
mod fixture;
mod limits;
mod model;
mod reconnect;
mod refusal;
mod wire;
