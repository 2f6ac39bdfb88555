//! Routes, splits, policies, balancing and statistics of Weft, without I/O.
//!
//! Everything here is a pure function or a state machine: time, randomness and addresses are arguments. The proxy
//! compiles these types once, when a snapshot is built, and asks them on every request.
//!
//! | what is decided | where |
//! |---|---|
//! | who and what is named | [`name`] |
//! | what is spoken | [`protocol`] |
//! | who connected to the load balancer before the proxy | [`proxy_protocol`] |
//! | which rule a request meets, and why | [`route`], with [`pattern`] |
//! | what servers may read in a path | [`path`] |
//! | what the rule does to it | [`filter`], with [`fraction`] |
//! | which backend gets it | [`split`], with [`affinity`] and [`hash`] |
//! | which endpoint of the backend | [`balance`], with [`outlier`] |
//! | what an attempt's end says of its endpoint, and of another attempt | [`outcome`] |
//! | how much may be under way | [`limits`], [`concurrency`] |
//! | which address of a name is tried when | [`eyeballs`] |
//! | how long it may take, and whether it is tried again | [`deadline`], [`retry`], [`hedge`], with [`budget`] and [`backoff`] |
//! | when there is too much of everything | [`shedding`] |
//! | who may call | [`authorization`] |
//! | what the proxy answers itself | [`reason`] |
//! | which header fields a proxy changes | [`headers`], [`trace`], [`forwarded`] |
//! | which requests come around | [`via`] |
//! | what clients may not send, or not as much of | [`http_validation`], [`violation`] |
//! | what is counted | [`statistics`], [`rate`] |

mod error;

pub mod affinity;
pub mod authorization;
pub mod backoff;
pub mod balance;
pub mod budget;
pub mod concurrency;
pub mod deadline;
pub mod eyeballs;
pub mod filter;
pub mod forwarded;
pub mod fraction;
pub mod hash;
pub mod headers;
pub mod hedge;
pub mod http_validation;
pub mod limits;
pub mod name;
pub mod outcome;
pub mod outlier;
pub mod path;
pub mod pattern;
pub mod protocol;
pub mod proxy_protocol;
pub mod rate;
pub mod reason;
pub mod retry;
pub mod route;
pub mod shedding;
pub mod split;
pub mod statistics;
pub mod trace;
pub mod via;
pub mod violation;

pub use error::Error;
