//! Who hears of what a client does that it must not.

use std::sync::Arc;

use weft_mesh::violation::Violation;

use crate::shared::Shared;
use crate::stats::Direction;

/// Counts what is wrong with one connection's client, and knows for how long it is waited for and whose it is.
#[derive(Debug, Clone, Default)]
pub struct Witness(Option<(Arc<Shared>, Direction)>, ClientKind);

/// Whose requests come on a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum ClientKind {
    /// Those of whoever opened it.
    #[default]
    Single,
    /// Those of many, for whom a proxy of the mesh sends that has proven who it is. What one of them does wrong must not take
    /// anything away from the others, and is limited at that proxy.
    MeshProxy,
}

impl Witness {
    /// One that counts for this side of the proxy.
    pub fn new(shared: &Arc<Shared>, direction: Direction) -> Self {
        Self(Some((Arc::clone(shared), direction)), ClientKind::Single)
    }

    /// The same, for a connection of this kind.
    #[must_use]
    pub fn of(self, kind: ClientKind) -> Self {
        Self(self.0, kind)
    }

    /// Whose requests come on the connection.
    pub fn kind(&self) -> ClientKind {
        self.1
    }

    /// Looks, one a minute, after which a request on which nothing has moved is given up.
    pub fn looks(&self) -> u32 {
        self.0.as_ref().map_or(u32::MAX, |(shared, _)| shared.stream_looks())
    }

    /// The client did this.
    pub fn saw(&self, violation: Violation) {
        if let Some((shared, direction)) = &self.0 {
            shared.stats.violated(*direction, violation);
            tracing::debug!(
                direction = direction.name(),
                kind = violation.label(),
                "a client broke its protocol"
            );
        }
    }
}
