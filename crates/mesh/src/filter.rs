//! What a rule does to requests and responses besides choosing a backend.
//!
//! The phases are fixed, whatever the order in which filters were written (Gateway API, `HTTPRouteRule.filters`,
//! leaves this to the implementation). Of a request: CORS preflight, rate limit, fault, redirect, header changes, URL
//! rewrite, mirrors. Of a response: CORS, header changes. A backend's own filters follow those of its rule.

mod cors;
mod fault;
mod global_limit;
mod headers;
mod path;
mod rate_limit;
mod redirect;
mod rewrite;

pub use cors::{Cors, OriginPattern};
pub use fault::{Abort, Fault, Injected};
pub use global_limit::{Counted, Descriptors, Entry, GlobalLimit, LimitService, ValueSource};
pub use headers::{HeaderChanges, frames};
pub use path::PathChange;
pub use rate_limit::{Bucket, Limited, RateLimit};
pub use redirect::{Redirect, RedirectFrom, Scheme};
pub use rewrite::Rewrite;

use crate::fraction::Fraction;

/// The filters of a rule or of one of its backends. `B` is what stands for a backend.
#[derive(Clone, Debug)]
pub struct Filters<B> {
    /// Set when a filter was named that does not exist: requests must be answered with
    /// [`Reason::InvalidFilter`](crate::reason::Reason::InvalidFilter), never passed on without it.
    pub unresolved: Option<String>,
    /// Cross-origin resource sharing.
    pub cors: Option<Cors>,
    /// A limit on requests.
    pub rate_limit: Option<RateLimit>,
    /// A limit on requests that a service keeps for all proxies.
    pub global_limit: Option<GlobalLimit<B>>,
    /// Delays and errors made on purpose.
    pub fault: Option<Fault>,
    /// An answer that sends the client elsewhere; nothing is forwarded then.
    pub redirect: Option<Redirect>,
    /// Changes to the request's header.
    pub request_headers: HeaderChanges,
    /// Changes to the host and path of the request.
    pub rewrite: Option<Rewrite>,
    /// Where copies of the request go.
    pub mirrors: Vec<Mirror<B>>,
    /// Changes to the response's header.
    pub response_headers: HeaderChanges,
}

impl<B> Default for Filters<B> {
    fn default() -> Self {
        Self {
            unresolved: None,
            cors: None,
            rate_limit: None,
            global_limit: None,
            fault: None,
            redirect: None,
            request_headers: HeaderChanges::default(),
            rewrite: None,
            mirrors: Vec::new(),
            response_headers: HeaderChanges::default(),
        }
    }
}

impl<B> Filters<B> {
    /// Whether there is nothing to do.
    pub fn is_empty(&self) -> bool {
        self.unresolved.is_none()
            && self.cors.is_none()
            && self.rate_limit.is_none()
            && self.global_limit.is_none()
            && self.fault.is_none()
            && self.redirect.is_none()
            && self.request_headers.is_empty()
            && self.rewrite.is_none()
            && self.mirrors.is_empty()
            && self.response_headers.is_empty()
    }
}

/// A backend that gets copies of requests; its answers are dropped (`HTTPRequestMirrorFilter`).
#[derive(Clone, Debug)]
pub struct Mirror<B> {
    /// Where copies go.
    pub backend: B,
    /// Of which requests.
    pub fraction: Fraction,
}
