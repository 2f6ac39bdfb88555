//! Routes, splits, policies, balancing and statistics of Weft, without I/O.
//!
//! Everything here is a pure function or a state machine: time, randomness and addresses are arguments. The proxy
//! compiles these types once, when a snapshot is built, and asks them on every request.

mod error;

pub mod affinity;
pub mod authorization;
pub mod backoff;
pub mod balance;
pub mod budget;
pub mod concurrency;
pub mod deadline;
pub mod filter;
pub mod forwarded;
pub mod fraction;
pub mod hash;
pub mod headers;
pub mod limits;
pub mod name;
pub mod outlier;
pub mod pattern;
pub mod protocol;
pub mod rate;
pub mod reason;
pub mod retry;
pub mod route;
pub mod split;
pub mod statistics;
pub mod trace;

pub use error::Error;
