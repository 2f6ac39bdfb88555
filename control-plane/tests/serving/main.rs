//! A whole control plane over its own TLS, and clients as a proxy is one: what they get, what they are refused, and
//! what an end of the control plane takes from them.

// Everything here is a test.
#![allow(clippy::unwrap_used)]

mod client;
mod discovery;
mod fixture;
mod identity;
mod operations;
mod restart;
