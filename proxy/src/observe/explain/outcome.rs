//! What comes of a request: never "sent on" of one that is refused, and never a promise where something is not known.

use std::fmt::Write as _;
use std::sync::Arc;

use weft_mesh::balance::TunnelProtocol;
use weft_mesh::filter::{Abort, Filters, RedirectFrom, Scheme};
use weft_mesh::reason::Reason;

use super::{BackendShare, Outcome, Query, hop};
use crate::snapshot::Backend;

/// What filters answer to every such request, if they do.
pub(super) fn answered(
    filters: &Filters<Arc<Backend>>,
    query: &Query,
    port: u16,
    matched_prefix: usize,
) -> Option<Outcome> {
    if let Some(problem) = &filters.unresolved {
        return Some(Outcome::refused(Reason::InvalidFilter, problem));
    }
    let itself = |status: u16, why: String| Some(Outcome { sent: false, status: Some(status), why });
    let preflight = filters.cors.as_ref().and_then(|cors| cors.preflight(&query.method, &query.headers));
    if let Some((status, _)) = preflight {
        return itself(
            status.as_u16(),
            "the proxy answers the preflight of a cross-origin request".to_owned(),
        );
    }
    if let Some((part, abort)) = filters.fault.as_ref().and_then(|fault| fault.abort)
        && part.is_all()
    {
        let (status, code) = match abort {
            Abort::Http(status) => (status.as_u16(), String::new()),
            Abort::Grpc(code) => (200, format!(" and gRPC status {code}")),
        };
        return itself(status, format!("the proxy aborts every request on purpose, with {status}{code}"));
    }
    let redirect = filters.redirect.as_ref()?;
    let location = redirect.location(RedirectFrom {
        scheme: Scheme::Http,
        host: query.uri.host().unwrap_or_default(),
        port,
        path: query.uri.path(),
        query: query.uri.query(),
        matched_prefix,
    });
    let location = location.as_ref().and_then(|it| it.to_str().ok()).unwrap_or_default();
    let status = redirect.status().as_u16();
    itself(status, format!("the proxy answers {status} and sends the client to {location}"))
}

/// What becomes of a share of the requests.
#[derive(Clone, Copy, PartialEq)]
enum Fate {
    Invalid,
    Answered,
    Empty,
    Denied,
    /// Sent on, as far as is known: what the policies of the service say is not.
    Unknown,
    Sent,
}

impl Fate {
    fn of(share: &BackendShare) -> Self {
        let takes_requests = |known: &Vec<super::EndpointState>| known.iter().any(|it| it.takes_requests);
        if share.answered.is_some() {
            Self::Answered
        } else if share.invalid.is_some() {
            Self::Invalid
        } else if share.endpoints.as_ref().is_some_and(|known| !takes_requests(known)) {
            Self::Empty
        } else {
            match &share.admission {
                Some(admission) if !admission.allowed => Self::Denied,
                None if has_sidecars(share) => Self::Unknown,
                Some(_) | None => Self::Sent,
            }
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Invalid => "answered with 500: a backend that does not hold keeps its share",
            Self::Answered => "answered by the filters of the backend",
            Self::Empty => "answered with 503: no endpoint takes requests",
            Self::Denied => "denied with 403 by the service's policies",
            Self::Unknown => "let in or denied by policies of the service that are not known here",
            Self::Sent => "sent on",
        }
    }
}

/// Whether a share may come to sidecars, which have policies.
fn has_sidecars(share: &BackendShare) -> bool {
    let plain = hop(TunnelProtocol::Plain);
    share.endpoints.as_ref().is_none_or(|known| known.iter().any(|endpoint| endpoint.hop != plain))
}

/// What comes of all shares, of which `aborts` per cent are aborted on purpose.
pub(super) fn outcome(backends: &[BackendShare], aborts: f64) -> Outcome {
    /// All, but for rounding.
    const ALL: f64 = 99.999;
    let share = |fate: Fate| -> f64 {
        backends.iter().filter(|backend| Fate::of(backend) == fate).map(|backend| backend.percent).sum()
    };
    for (fate, reason, why) in [
        (Fate::Invalid, Reason::InvalidBackend, "no backend holds"),
        (Fate::Denied, Reason::Denied, "the policies of the service do not let the caller in"),
        (Fate::Empty, Reason::NoEndpoints, "no endpoint takes requests"),
    ] {
        if share(fate) >= ALL {
            return Outcome::refused(reason, why);
        }
    }
    let mut chosen = backends.iter().filter(|backend| backend.percent > 0.0);
    if let (Some(only), None) = (chosen.next(), chosen.next())
        && let Some(answered) = &only.answered
    {
        return answered.clone();
    }
    let fates = [Fate::Invalid, Fate::Answered, Fate::Empty, Fate::Denied, Fate::Unknown];
    let sent = share(Fate::Sent) + share(Fate::Unknown) > 0.0;
    let mut why = if sent { "sent on" } else { "never sent on" }.to_owned();
    for (fate, percent) in fates.map(|fate| (fate, share(fate))) {
        if percent > 0.0 {
            let _ = write!(why, "; {percent:.1} % {}", fate.words());
        }
    }
    if aborts > 0.0 {
        let _ = write!(why, "; of all, {aborts:.1} % are aborted on purpose before that");
    }
    Outcome { sent, status: None, why }
}
