//! What the tests of Weft share.

pub mod namespace;
