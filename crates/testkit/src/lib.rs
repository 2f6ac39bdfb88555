//! What the tests of Weft share.

#[cfg(feature = "kubernetes")]
pub mod kubernetes;
pub mod mutation;
pub mod namespace;
