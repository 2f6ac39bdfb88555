//! The command as people and programs use it: its own processes, on this machine.

// Helpers of tests are tests too.
#![allow(clippy::unwrap_used)]

mod check;
mod demo;
mod explain;
mod rolling;
mod run;
mod support;
mod usage;
