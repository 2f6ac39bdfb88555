//! Small services that show Weft at work: a page (`web`) that shows a product with its reviews, `reviews` in three
//! versions, `ratings` over gRPC, `echo` over TCP, and `load`, which calls them at a constant rate and counts what comes back.
//!
//! They are ordinary programs and know nothing of the mesh: each listens on one local port, calls others by URL,
//! honours `http_proxy`, passes trace headers on, and finishes what it began when it gets SIGTERM.
//!
//! Each service has a module with `Args`, `bind` (listen, then decide when to answer) and `run` (all of it until
//! SIGTERM); [`Program`] is the choice among them for a command line.

pub mod behaviour;
mod client;
mod context;
pub mod echo;
mod error;
mod http_server;
pub mod load;
mod program;
pub mod ratings;
pub mod reviews;
pub mod serving;
pub mod web;

pub use client::ClientArgs;
pub use error::Error;
pub use program::{Program, start};

/// What `ratings` offers, generated from `proto/ratings.proto`.
// Generated code is not written to the lints of this project.
#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
pub mod api {
    tonic::include_proto!("ratings.v1");

    /// The contract itself, for gRPC reflection.
    pub const DESCRIPTION: &[u8] = tonic::include_file_descriptor_set!("ratings");
}

/// Answer header that says which version of a service answered.
pub const VERSION_HEADER: &str = "x-version";
