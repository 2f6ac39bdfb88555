//! What the tests of Weft share.
