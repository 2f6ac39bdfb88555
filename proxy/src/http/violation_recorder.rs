//! Who hears of what a client does that it must not.

use std::sync::Arc;

use weft_mesh::violation::Violation;

use super::idle_requests::Patience;
use crate::observe::stats::Direction;
use crate::runtime::shared::Shared;

/// Counts what is wrong with one connection's client, and knows for how long it is waited for and whose it is.
#[derive(Debug, Clone, Default)]
pub struct ViolationRecorder {
    of: Option<(Arc<Shared>, Direction)>,
    kind: ClientKind,
    patience: Arc<Patience>,
}

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

impl ViolationRecorder {
    /// One that counts for this side of the proxy.
    pub fn new(shared: &Arc<Shared>, direction: Direction) -> Self {
        let of = Some((Arc::clone(shared), direction));
        Self { of, kind: ClientKind::Single, patience: Arc::default() }
    }

    /// The same, for a connection of this kind.
    #[must_use]
    pub fn of(self, kind: ClientKind) -> Self {
        Self { kind, ..self }
    }

    /// Whose requests come on the connection.
    pub fn kind(&self) -> ClientKind {
        self.kind
    }

    /// Has those who wait for the client's requests know of its patience, and the other way round.
    #[must_use]
    pub fn sharing(self, patience: &Arc<Patience>) -> Self {
        Self { patience: Arc::clone(patience), ..self }
    }

    /// For how long requests of the connection may stand still, and whether its client is there.
    pub fn patience(&self) -> &Patience {
        &self.patience
    }

    /// Looks, one a minute, after which a request on which nothing has moved is given up. One more than those of who waits for
    /// the answer, and can tell the client why.
    pub fn looks(&self) -> u32 {
        let usual = self.of.as_ref().map_or(u32::MAX, |(shared, _)| shared.stream_looks());
        usual.max(self.patience.allowed()).saturating_add(1)
    }

    /// The client did this.
    pub fn saw(&self, violation: Violation) {
        if let Some((shared, direction)) = &self.of {
            shared.stats.violated(*direction, violation);
            tracing::debug!(
                direction = direction.name(),
                kind = violation.label(),
                "a client broke its protocol"
            );
        }
    }
}
