//! The control plane of Weft: sources, compiler, discovery and identity.
//!
//! ```text
//! source (files) ──┐
//!                  ├─> index ─> discovery (compiled on demand) ─> proxies
//! registrations ───┘
//! ```
//!
//! [`start`] puts the parts together; [`check`] reads a folder as it would, without running anything.

mod admin;
mod args;
mod authority;
mod caller;
mod check;
mod compile;
mod config;
mod config_watcher;
mod discovery;
mod error;
mod grpc;
mod handshake_errors;
mod index;
pub mod inject;
mod kubernetes;
mod listener;
mod metrics;
mod preview;
mod registry;
mod revocations;
mod settings;
mod shares;
mod source;
mod start;
mod state;
mod status;
mod token;
mod traffic;
mod webhook;

pub use args::Args;
pub use check::{Report, check};
pub use config::{ControlPlaneConfig, KubernetesConfig, default_state_dir};
pub use error::Error;
pub use preview::{Preview, preview};
pub use revocations::{REVOCATIONS, Revocable, Revocation, restore, revocations, revoke};
pub use settings::{AccessLog, NativeSidecars, Redirect, Settings};
pub use source::Diagnostic;
pub use start::{Running, start};
pub use state::Announcement;
pub use status::CONTROLLER;
pub use token::{TokenRequest, create_token};
