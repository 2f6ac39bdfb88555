//! The command as people and programs use it: its own processes, on this machine.

// Helpers of tests are tests too.
#![allow(clippy::unwrap_used)]

mod check;
mod cluster;
mod compose;
mod dashboards;
mod demo;
mod explain;
mod here;
mod images;
mod machine;
mod rolling;
mod run;
mod sidecar;
mod support;
mod usage;
