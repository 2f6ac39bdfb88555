//! What the tests of Weft share.

pub mod generated;
pub mod hostile;
pub mod http2;
#[cfg(feature = "kubernetes")]
pub mod kubernetes;
pub mod mutation;
pub mod namespace;
