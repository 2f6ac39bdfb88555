//! The control plane of Weft: sources, compiler, discovery and identity.
