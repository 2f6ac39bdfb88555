//! One module for each command: its options, its examples, and the way into what does the work.

pub(crate) mod check;
pub(crate) mod completions;
pub(crate) mod config;
pub(crate) mod control_plane;
pub(crate) mod demo;
pub(crate) mod example;
pub(crate) mod explain;
pub(crate) mod get;
pub(crate) mod guard;
pub(crate) mod identity;
pub(crate) mod inject;
pub(crate) mod install;
pub(crate) mod logs;
pub(crate) mod man;
pub(crate) mod proxy;
pub(crate) mod ps;
pub(crate) mod run;
pub(crate) mod token;
pub(crate) mod top;
pub(crate) mod uninstall;
pub(crate) mod upgrade;
