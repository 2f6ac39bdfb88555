//! What a compromised workload, a tenant, or a neighbour in the cluster may try on the mesh. Each attempt prints a line with
//! what was tried, what is expected and what was seen; a test fails after all of its attempts were made.

// Tests end where they go wrong, helpers included.
#![allow(clippy::unwrap_used)]

mod admission;
mod authority;
mod claims;
mod identity;
mod surfaces;
mod world;
