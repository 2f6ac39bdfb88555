//! Who hears of what a client does that it must not.

use std::sync::Arc;

use weft_mesh::violation::Violation;

use crate::shared::Shared;
use crate::stats::Direction;

/// Counts what is wrong with one connection's client, and knows for how long it is waited for.
#[derive(Debug, Clone, Default)]
pub struct Witness(Option<(Arc<Shared>, Direction)>);

impl Witness {
    /// One that counts for this side of the proxy.
    pub fn new(shared: &Arc<Shared>, direction: Direction) -> Self {
        Self(Some((Arc::clone(shared), direction)))
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
