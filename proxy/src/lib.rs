//! The data plane of Weft: a sidecar proxy.
