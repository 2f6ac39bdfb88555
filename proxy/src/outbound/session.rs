//! Sessions (GEP-1619): a client stays with the backend and the endpoint that it got first.

use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use weft_mesh::affinity::{Session, SessionPersistence};
use weft_mesh::balance::Endpoint;
use weft_mesh::hash::stable_hash;
use weft_mesh::name::ServicePort;

/// What a request's rule says of sessions, and the one that the request belongs to.
pub(super) struct Sessions<'a> {
    persistence: &'a SessionPersistence,
    /// `None`: it has none yet, or it is over.
    current: Option<Session>,
    now: u64,
}

impl<'a> Sessions<'a> {
    pub(super) fn of(persistence: &'a SessionPersistence, headers: &HeaderMap) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Self { persistence, current: persistence.read(headers, now), now }
    }

    /// Whether the session is with this backend.
    pub(super) fn is_with(&self, backend: &ServicePort) -> bool {
        self.current.is_some_and(|session| session.backend == key(backend))
    }

    /// The endpoint that the session is bound to.
    pub(super) fn endpoint(&self) -> Option<u64> {
        self.current.map(|session| session.endpoint)
    }

    /// Tells the client with whom its session is, where that is news.
    pub(super) fn answer(&self, backend: &ServicePort, endpoint: &Endpoint, headers: &mut HeaderMap) {
        let bound = Session { backend: key(backend), endpoint: endpoint.key(), began: self.now };
        let known = |session: Session| session.backend == bound.backend && session.endpoint == bound.endpoint;
        if self.current.is_some_and(known) {
            return;
        }
        if let Some((name, value)) = self.persistence.write(bound, self.now) {
            headers.append(name, value);
        }
    }
}

fn key(backend: &ServicePort) -> u64 {
    stable_hash(backend.to_string().as_bytes())
}
