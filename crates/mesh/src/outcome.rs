//! What an attempt's end says: judged here, once, for retries, ejection and latency alike, whatever the protocol.
//!
//! An endpoint's own proxy answers too: that it can't reach its application, that it is overloaded or about to end. Such
//! an answer is a status of HTTP to callers of HTTP and a `grpc-status` with status 200 to callers of gRPC. What counts is
//! its [`Reason`], which is the same for both.

use http::{HeaderMap, StatusCode};

use crate::reason::Reason;
use crate::retry::{AttemptOutcome, Pushback};

/// The header field that says why a proxy answered itself.
pub const X_WEFT_ERROR: &str = "x-weft-error";

/// What an attempt's end says of its endpoint, for ejection and latency.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It did what it was asked for. How long that took is its latency.
    Success,
    /// It refused: a status 4xx, or one of gRPC that blames the request. It is well, but a refusal takes less time than what
    /// was asked for would have taken.
    Refused,
    /// It failed: a status 5xx other than the following, or one of gRPC that stands for one.
    ServerError,
    /// It did not answer: a reset, a timeout, status 502 to 504, or UNAVAILABLE or `DEADLINE_EXCEEDED` of gRPC.
    GatewayFailure,
    /// Nothing is there that takes a connection. There is no doubt about that and no sense in asking again at once, so
    /// that one such attempt ejects.
    Unreachable,
    /// The caller went away or the proxy gave up for reasons of its own: says nothing about the endpoint.
    Unknown,
}

impl Outcome {
    /// What a status of HTTP says.
    pub fn of_status(status: StatusCode) -> Self {
        match status.as_u16() {
            502..=504 => Self::GatewayFailure,
            500.. => Self::ServerError,
            400.. => Self::Refused,
            _ => Self::Success,
        }
    }

    /// What a status of gRPC says: the same as the status of HTTP that gRPC maps it to
    /// (<https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>) would.
    pub fn of_grpc(code: u8) -> Self {
        match code {
            0 => Self::Success,
            // DEADLINE_EXCEEDED, UNAVAILABLE
            4 | 14 => Self::GatewayFailure,
            // UNKNOWN, UNIMPLEMENTED, INTERNAL, DATA_LOSS, and what is no code, which clients take for UNKNOWN
            2 | 12 | 13 | 15 | 17.. => Self::ServerError,
            _ => Self::Refused,
        }
    }

    /// Whether the endpoint is to blame for a failure.
    pub const fn is_failure(self) -> bool {
        matches!(self, Self::ServerError | Self::GatewayFailure | Self::Unreachable)
    }

    /// Whether it says no more than that the endpoint did not answer.
    pub const fn is_no_answer(self) -> bool {
        matches!(self, Self::GatewayFailure | Self::Unreachable)
    }
}

/// The status of gRPC in a header or in trailers; what can't be read stands for none that there is.
pub fn grpc_status(fields: &HeaderMap) -> Option<u8> {
    let value = fields.get("grpc-status")?;
    Some(value.to_str().ok().and_then(|value| value.parse().ok()).unwrap_or(u8::MAX))
}

/// An attempt's end, for those who ask about the endpoint and those who ask about another attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Verdict {
    /// What it says of the endpoint.
    pub outcome: Outcome,
    /// What it means for another attempt.
    pub happened: AttemptOutcome,
}

/// The head of an answer.
#[derive(Debug, Clone, Copy)]
pub struct Head<'a> {
    /// Its status.
    pub status: StatusCode,
    /// Its header.
    pub headers: &'a HeaderMap,
    /// Whether the request is one of gRPC, so that a `grpc-status` counts.
    pub grpc: bool,
    /// Whether the endpoint's own proxy says that it answered itself and the application saw nothing of the request.
    pub by_proxy: bool,
    /// Whether a proxy behind says that it tried all that it may.
    pub gave_up: bool,
}

impl Verdict {
    /// What an answer's head says. `None` for the outcome's part of an answer of gRPC whose status is still to come is
    /// [`Outcome::Success`]: its trailers may say otherwise ([`Outcome::of_grpc`]).
    pub fn of_answer(head: Head<'_>) -> Self {
        let grpc_status = if head.grpc { grpc_status(head.headers) } else { None };
        let own = if head.by_proxy { own_reason(head.headers) } else { None };
        let outcome = match (own, grpc_status) {
            (Some(Reason::ConnectFailed), _) => Outcome::Unreachable,
            (Some(reason), _) => Outcome::of_status(reason.http_status()),
            (None, Some(code)) if head.status.is_success() => Outcome::of_grpc(code),
            (None, _) => Outcome::of_status(head.status),
        };
        let happened = match own {
            Some(Reason::ConnectFailed) if !head.gave_up => AttemptOutcome::Unreached,
            Some(reason) if !head.gave_up && reason.leaves_unserved() => AttemptOutcome::NotProcessed,
            _ => {
                let pushback = if outcome == Outcome::Success { None } else { Pushback::read(head.headers) };
                AttemptOutcome::Response { status: head.status, grpc_status, gave_up: head.gave_up, pushback }
            }
        };
        Self { outcome, happened }
    }

    /// What a failure to get an answer says.
    pub fn of_failure(failure: Failed) -> Self {
        let outcome = match failure.by {
            Blame::Client | Blame::Proxy => Outcome::Unknown,
            Blame::Endpoint if failure.is_unreached() => Outcome::Unreachable,
            Blame::Endpoint => Outcome::GatewayFailure,
        };
        let happened = match (failure.by, failure.reason) {
            // What the client broke off is not there to be sent again; and of a limit of the whole service another endpoint
            // changes nothing.
            (Blame::Client, _) | (Blame::Proxy, Reason::Overloaded | Reason::BreakerOpen) => {
                AttemptOutcome::Over
            }
            _ if failure.is_unreached() => AttemptOutcome::Unreached,
            _ if !failure.processed => AttemptOutcome::NotProcessed,
            (_, Reason::AttemptTimeout) => AttemptOutcome::AttemptTimeout,
            (_, Reason::RequestTimeout) => AttemptOutcome::Late,
            _ => AttemptOutcome::Reset,
        };
        Self { outcome, happened }
    }
}

/// Whose doing a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blame {
    /// The client's.
    Client,
    /// This proxy's own: a limit, a policy, what it lacks.
    Proxy,
    /// The endpoint's, or of the way to it.
    Endpoint,
}

/// An attempt that got no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failed {
    /// Why.
    pub reason: Reason,
    /// Whose doing it is.
    pub by: Blame,
    /// Whether the request may have had an effect.
    pub processed: bool,
}

impl Failed {
    fn is_unreached(self) -> bool {
        self.by == Blame::Endpoint && self.reason == Reason::ConnectFailed && !self.processed
    }
}

/// Why the endpoint's own proxy answered.
fn own_reason(headers: &HeaderMap) -> Option<Reason> {
    Reason::from_label(headers.get(X_WEFT_ERROR)?.to_str().ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(fields: &[(&'static str, &str)]) -> HeaderMap {
        fields.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect()
    }

    fn answered(status: u16, fields: &[(&'static str, &str)], grpc: bool, by_proxy: bool) -> Verdict {
        let headers = headers(fields);
        let status = StatusCode::from_u16(status).unwrap();
        Verdict::of_answer(Head { status, headers: &headers, grpc, by_proxy, gave_up: false })
    }

    #[test]
    fn what_an_endpoints_proxy_answers_itself_says_the_same_in_http_and_in_grpc() {
        for reason in Reason::ALL {
            let status = reason.http_status();
            let (label, code) = (reason.label(), reason.grpc_status().to_string());
            let http = answered(status.as_u16(), &[(X_WEFT_ERROR, label)], false, true);
            let grpc = answered(200, &[(X_WEFT_ERROR, label), ("grpc-status", &code)], true, true);
            assert_eq!(http.outcome, grpc.outcome, "{reason}");
            let is_response = |verdict: Verdict| matches!(verdict.happened, AttemptOutcome::Response { .. });
            assert!(http.happened == grpc.happened || (is_response(http) && is_response(grpc)), "{reason}");
            assert!(status.is_client_error() || http.outcome.is_failure(), "{reason}");
            let elsewhere = matches!(http.happened, AttemptOutcome::NotProcessed | AttemptOutcome::Unreached);
            assert_eq!(elsewhere, matches!(status.as_u16(), 502 | 503), "{reason}");
        }
    }

    #[test]
    fn what_an_application_says_counts_as_an_answer_whatever_it_claims() {
        let claims = [(X_WEFT_ERROR, "connect_failed"), ("grpc-status", "14")];
        for (status, grpc) in [(503, false), (200, true)] {
            let verdict = answered(status, &claims, grpc, false);
            assert_eq!(verdict.outcome, Outcome::GatewayFailure);
            assert!(matches!(verdict.happened, AttemptOutcome::Response { .. }), "{verdict:?}");
        }
        let unknown = answered(503, &[(X_WEFT_ERROR, "tired")], false, true);
        assert!(matches!(unknown.happened, AttemptOutcome::Response { .. }), "a reason of a later version");
    }

    #[test]
    fn statuses_of_http_and_grpc_fall_into_the_same_kinds() {
        for (status, expected) in [
            (200, Outcome::Success),
            (304, Outcome::Success),
            (404, Outcome::Refused),
            (429, Outcome::Refused),
            (500, Outcome::ServerError),
            (501, Outcome::ServerError),
            (502, Outcome::GatewayFailure),
            (504, Outcome::GatewayFailure),
            (505, Outcome::ServerError),
            (599, Outcome::ServerError),
        ] {
            assert_eq!(answered(status, &[], false, false).outcome, expected, "{status}");
        }
        for (code, expected) in [
            ("0", Outcome::Success),
            ("5", Outcome::Refused),
            ("8", Outcome::Refused),
            ("2", Outcome::ServerError),
            ("13", Outcome::ServerError),
            ("14", Outcome::GatewayFailure),
            ("4", Outcome::GatewayFailure),
            ("99", Outcome::ServerError),
            ("what?", Outcome::ServerError),
        ] {
            let verdict = answered(200, &[("grpc-status", code)], true, false);
            assert_eq!(verdict.outcome, expected, "{code}");
            assert_eq!(answered(200, &[("grpc-status", code)], false, false).outcome, Outcome::Success);
        }
        assert_eq!(answered(503, &[("grpc-status", "0")], true, false).outcome, Outcome::GatewayFailure);
    }

    #[test]
    fn a_failure_is_blamed_on_whoever_caused_it() {
        let failed = |reason, by, processed| Verdict::of_failure(Failed { reason, by, processed });
        for (verdict, outcome, happened) in [
            (
                failed(Reason::ConnectFailed, Blame::Endpoint, false),
                Outcome::Unreachable,
                AttemptOutcome::Unreached,
            ),
            (
                failed(Reason::ConnectFailed, Blame::Proxy, false),
                Outcome::Unknown,
                AttemptOutcome::NotProcessed,
            ),
            (
                failed(Reason::UpstreamReset, Blame::Endpoint, false),
                Outcome::GatewayFailure,
                AttemptOutcome::NotProcessed,
            ),
            (
                failed(Reason::UpstreamReset, Blame::Endpoint, true),
                Outcome::GatewayFailure,
                AttemptOutcome::Reset,
            ),
            (
                failed(Reason::AttemptTimeout, Blame::Endpoint, true),
                Outcome::GatewayFailure,
                AttemptOutcome::AttemptTimeout,
            ),
            (
                failed(Reason::RequestTimeout, Blame::Endpoint, true),
                Outcome::GatewayFailure,
                AttemptOutcome::Late,
            ),
            (failed(Reason::Overloaded, Blame::Proxy, false), Outcome::Unknown, AttemptOutcome::Over),
            (failed(Reason::BreakerOpen, Blame::Proxy, false), Outcome::Unknown, AttemptOutcome::Over),
            (failed(Reason::BadRequest, Blame::Client, false), Outcome::Unknown, AttemptOutcome::Over),
        ] {
            assert_eq!((verdict.outcome, verdict.happened), (outcome, happened));
        }
    }
}
