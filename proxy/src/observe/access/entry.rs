//! One line of the access log. `docs/access-log.md` says what each field means; names do not change.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use http::header::{HOST, USER_AGENT};
use http::{HeaderMap, Method, Request, StatusCode, Version};
use serde::Serialize;
use weft_mesh::name::{Identity, ServicePort};
use weft_mesh::reason::Reason;
use weft_mesh::trace::{REQUEST_ID, TraceContext};

use crate::http::exchange::is_grpc_failure;
use crate::observe::stats::{Cause, Direction};
use crate::runtime::clock::{now, since};
use crate::runtime::shared::Shared;
use crate::transport::relay::Carried;

/// Longest text of a field, in bytes.
const TEXT_MAX: usize = 1024;

/// What a line says.
#[derive(Debug, Serialize)]
#[expect(missing_docs, reason = "the documentation of the log says what each field means")]
pub struct Entry {
    #[serde(serialize_with = "rfc3339")]
    pub time: SystemTime,
    pub direction: &'static str,
    pub protocol: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub grpc_status: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<&'static str>,
    pub failed: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub cut_off: bool,
    #[serde(skip_serializing_if = "is_false")]
    pub mirrored: bool,
    pub duration_ms: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response_ms: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attempts: Option<u32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hedges: Option<u32>,
    pub bytes_received: u64,
    pub bytes_sent: u64,
    pub source: SocketAddr,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional")]
    pub source_identity: Option<Identity>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional")]
    pub destination: Option<ServicePort>,
    #[serde(skip_serializing_if = "str::is_empty", serialize_with = "text")]
    pub route: Arc<str>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional")]
    pub backend: Option<ServicePort>,
    #[serde(skip_serializing_if = "str::is_empty", serialize_with = "text")]
    pub workload: Arc<str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<SocketAddr>,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "optional")]
    pub destination_identity: Option<Identity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trace_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<String>,
}

/// An entry whose request or connection goes on.
#[derive(Debug)]
pub struct Open {
    /// What is known so far.
    pub entry: Entry,
    began: Instant,
}

impl Open {
    fn new(direction: Direction, source: SocketAddr, protocol: &'static str) -> Self {
        let entry = Entry {
            time: SystemTime::now(),
            direction: direction.name(),
            protocol,
            method: None,
            authority: None,
            path: None,
            status: None,
            grpc_status: None,
            reason: None,
            failed: false,
            cut_off: false,
            mirrored: false,
            duration_ms: 0.0,
            response_ms: None,
            attempts: None,
            hedges: None,
            bytes_received: 0,
            bytes_sent: 0,
            source,
            source_identity: None,
            destination: None,
            route: "".into(),
            backend: None,
            workload: "".into(),
            endpoint: None,
            destination_identity: None,
            request_id: None,
            trace_id: None,
            user_agent: None,
        };
        Self { entry, began: now() }
    }

    pub(super) fn connection(direction: Direction, source: SocketAddr) -> Box<Self> {
        Box::new(Self::new(direction, source, "tcp"))
    }

    /// The version that the answer is in stands for that of the request, of which nothing is sure.
    pub(super) fn unread(direction: Direction, source: SocketAddr) -> Box<Self> {
        Box::new(Self::new(direction, source, protocol(Version::HTTP_11)))
    }

    pub(super) fn request<B>(direction: Direction, source: SocketAddr, request: &Request<B>) -> Box<Self> {
        let mut open = Box::new(Self::new(direction, source, protocol(request.version())));
        let (uri, headers) = (request.uri(), request.headers());
        open.entry.method = Some(bounded(request.method().as_str().as_bytes()));
        open.entry.authority = match uri.authority() {
            Some(authority) => Some(bounded(authority.as_str().as_bytes())),
            None => headers.get(HOST).map(|host| bounded(host.as_bytes())),
        };
        // Without the query, which often holds what is nobody else's business.
        open.entry.path = (request.method() != Method::CONNECT).then(|| bounded(uri.path().as_bytes()));
        open.entry.user_agent = headers.get(USER_AGENT).map(|agent| bounded(agent.as_bytes()));
        open.identified(headers);
        open
    }

    /// Takes what the headers say of which request it is.
    pub fn identified(&mut self, headers: &HeaderMap) {
        self.entry.request_id = headers.get(&REQUEST_ID).map(|id| bounded(id.as_bytes()));
        self.entry.trace_id =
            TraceContext::from_headers(headers).map(|(trace, _)| format!("{:032x}", trace.trace_id));
    }

    /// Takes what the head of the answer says.
    pub fn answered(&mut self, status: StatusCode, headers: &HeaderMap) {
        self.entry.status = Some(status.as_u16());
        self.entry.response_ms = Some(millis(since(self.began)));
        self.entry.failed |= status.is_server_error();
        self.trailed(headers);
    }

    /// Takes what the answer's trailers say.
    pub fn trailed(&mut self, trailers: &HeaderMap) {
        if let Some(status) = trailers.get("grpc-status") {
            self.entry.grpc_status = Some(bounded(status.as_bytes()));
            self.entry.failed |= is_grpc_failure(trailers);
        }
    }

    /// Notes that the proxy answered, or that it is why something broke off.
    pub fn failed(&mut self, reason: Reason) {
        self.entry.reason = Some(reason.label());
        self.entry.failed = true;
    }

    /// Takes how a request ended.
    pub fn ended(&mut self, cause: Option<Cause>, failed: bool) {
        self.entry.failed |= failed;
        match cause {
            None => {}
            Some(Cause::Cancelled) => self.entry.cut_off = true,
            Some(cause) => {
                self.entry.reason = Some(cause.label());
                self.entry.failed |= matches!(cause, Cause::Failed(_));
            }
        }
    }

    /// Takes what went over an opaque connection, and whether it broke.
    pub fn relayed(&mut self, carried: &Carried, broken: bool) {
        self.entry.bytes_received = carried.forth;
        self.entry.bytes_sent = carried.back;
        self.entry.failed |= broken;
    }

    /// Writes the line.
    pub fn end(self: Box<Self>, shared: &Shared) {
        let Self { mut entry, began } = *self;
        entry.duration_ms = millis(since(began));
        shared.access.submit(entry, &shared.stats);
    }
}

fn protocol(version: Version) -> &'static str {
    match version {
        Version::HTTP_09 | Version::HTTP_10 => "HTTP/1.0",
        Version::HTTP_2 => "HTTP/2",
        _ => "HTTP/1.1",
    }
}

/// Milliseconds, to the microsecond: what follows is noise.
fn millis(elapsed: Duration) -> f64 {
    elapsed.as_micros() as f64 / 1e3
}

/// Text that a client chose, of bounded length; bytes that are no UTF-8 are replaced.
fn bounded(bytes: &[u8]) -> String {
    let kept = bytes.get(..TEXT_MAX);
    let mut text = String::from_utf8_lossy(kept.unwrap_or(bytes)).into_owned();
    if kept.is_some() && bytes.len() > TEXT_MAX {
        text.push('…');
    }
    text
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for it")]
fn is_false(value: &bool) -> bool {
    !value
}

fn rfc3339<S: serde::Serializer>(time: &SystemTime, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&prost_types::Timestamp::from(*time))
}

#[expect(clippy::ref_option, reason = "serde asks for it")]
fn optional<T: std::fmt::Display, S: serde::Serializer>(
    value: &Option<T>,
    serializer: S,
) -> Result<S::Ok, S::Error> {
    match value {
        Some(value) => serializer.collect_str(value),
        None => serializer.serialize_none(),
    }
}

fn text<S: serde::Serializer>(value: &Arc<str>, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(value)
}
