//! The weft/1 protocol between two sidecars, without I/O.
