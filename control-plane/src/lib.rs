//! The control plane of Weft: sources, compiler, discovery and identity.

mod check;
mod compile;
mod discovery;
mod error;
mod index;
pub mod resource;
mod source;

pub use check::{Report, check};
pub use error::Error;
pub use source::Diagnostic;
