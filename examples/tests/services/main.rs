//! The services joined directly, on free ports, and their programs.

// Helpers of tests fail as tests do; the lint knows only functions marked as tests.
#![allow(clippy::unwrap_used)]

mod chain;
mod drain;
mod grpc;
mod load;
mod program;
mod resources;
mod support;
