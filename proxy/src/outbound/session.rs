//! Sessions (GEP-1619): a client stays with the backend and the endpoint that it got first.

use std::time::{SystemTime, UNIX_EPOCH};

use http::HeaderMap;
use weft_mesh::affinity::{Session, SessionPersistence};
use weft_mesh::balance::Endpoint;
use weft_mesh::name::ServicePort;
use weft_mesh::route::PathMatch;

use super::exchange::Rule;

/// What a request's rule says of sessions, and the one that the request belongs to.
pub(super) struct Sessions<'a> {
    persistence: &'a SessionPersistence,
    /// Which paths the rule is for.
    path: &'a PathMatch,
    /// `None`: it has none yet, or it is over.
    current: Option<Session>,
    now: u64,
}

impl<'a> Sessions<'a> {
    /// `None`: the rule keeps none.
    pub(super) fn of(rule: &Rule<'a>, headers: &HeaderMap) -> Option<Self> {
        let persistence = rule.rule.session_persistence.as_ref()?;
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
        Some(Self { persistence, path: rule.path, current: persistence.read(headers, now), now })
    }

    /// Whether the session is with this backend.
    pub(super) fn is_with(&self, backend: &ServicePort) -> bool {
        self.current.is_some_and(|session| session.backend == self.key(backend))
    }

    /// The endpoint that the session is bound to.
    pub(super) fn endpoint(&self) -> Option<u64> {
        self.current.map(|session| session.endpoint)
    }

    /// Tells the client with whom its session is, where that is news.
    pub(super) fn answer(&self, backend: &ServicePort, endpoint: &Endpoint, headers: &mut HeaderMap) {
        let (backend, endpoint) = (self.key(backend), endpoint.key());
        let kept = self.current.filter(|told| told.backend == backend && told.endpoint == endpoint);
        if kept.is_some_and(|told| !self.persistence.is_news(told, self.now)) {
            return;
        }
        let began = kept.map_or(self.now, |told| told.began);
        let session = Session { backend, endpoint, began, used: self.now };
        if let Some((name, value)) = self.persistence.write(session, self.path.common(), self.now) {
            headers.append(name, value);
        }
    }

    fn key(&self, backend: &ServicePort) -> u64 {
        self.persistence.backend_key(&backend.to_string())
    }
}
