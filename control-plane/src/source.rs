//! Where resources come from. A source tells of resources as they are, decoded and checked; who reads them does not
//! know which source it was.

mod diagnostic;
mod files;
mod folder;
pub(crate) mod kubernetes;
mod lint;
mod watch;
mod yaml;

pub use diagnostic::Diagnostic;
pub(crate) use files::read;
pub(crate) use folder::{Folder, Outcome, Places, in_order};
pub(crate) use lint::{Registered, claims, lint};
pub(crate) use watch::Watcher;
