//! How a client tells which resources of a response it refused and why.
//!
//! xDS knows one error for a whole response. The names and reasons go into its details as a
//! `google.rpc.BadRequest`, one field violation for each resource, which other servers ignore.

use std::fmt;
use std::sync::Arc;

use envoy_types::pb::google::protobuf::Any;
use envoy_types::pb::google::rpc::Status;
use prost::Message;

const BAD_REQUEST: &str = "type.googleapis.com/google.rpc.BadRequest";
/// `INVALID_ARGUMENT` of `google.rpc.Code`.
const INVALID_ARGUMENT: i32 = 3;
/// Longest reason that is kept: enough for a sentence with a value, and a bound on what a peer makes us hold.
const REASON_MAX: usize = 512;
/// How many rejections the message of a NACK names; all of them are in its details.
const IN_MESSAGE: usize = 5;

/// A resource that was refused, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejection {
    /// The resource's name.
    pub name: Arc<str>,
    /// Why: what is wrong, with the value, and what is expected.
    pub reason: String,
}

impl Rejection {
    /// Refuses a resource.
    pub fn new(name: impl Into<Arc<str>>, reason: impl Into<String>) -> Self {
        Self { name: name.into(), reason: shortened(reason.into()) }
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.reason)
    }
}

#[derive(Clone, PartialEq, Message)]
struct BadRequest {
    #[prost(message, repeated, tag = "1")]
    field_violations: Vec<FieldViolation>,
}

#[derive(Clone, PartialEq, Message)]
struct FieldViolation {
    #[prost(string, tag = "1")]
    field: String,
    #[prost(string, tag = "2")]
    description: String,
}

/// The error of a NACK.
pub(crate) fn to_status(rejections: &[Rejection], resources: usize) -> Status {
    let shown: Vec<String> = rejections.iter().take(IN_MESSAGE).map(ToString::to_string).collect();
    let more = if rejections.len() > shown.len() { "; ..." } else { "" };
    let message =
        format!("{} of {resources} resources refused: {}{more}", rejections.len(), shown.join("; "));
    let violations = rejections
        .iter()
        .map(|rejection| FieldViolation {
            field: rejection.name.to_string(),
            description: rejection.reason.clone(),
        })
        .collect();
    let details = BadRequest { field_violations: violations }.encode_to_vec();
    Status {
        code: INVALID_ARGUMENT,
        message,
        details: vec![Any { type_url: BAD_REQUEST.to_owned(), value: details }],
    }
}

/// What a NACK refuses out of the resources that the response held: those that the details name, or, from a client
/// that names none, all of them.
pub(crate) fn from_status<'a>(
    status: &Status,
    sent: impl IntoIterator<Item = &'a Arc<str>> + Clone,
) -> Vec<Rejection> {
    let named: std::collections::HashMap<String, String> = status
        .details
        .iter()
        .filter(|detail| detail.type_url == BAD_REQUEST)
        .filter_map(|detail| BadRequest::decode(detail.value.as_slice()).ok())
        .flat_map(|request| request.field_violations)
        .map(|violation| (violation.field, violation.description))
        .collect();
    let refused: Vec<Rejection> = sent
        .clone()
        .into_iter()
        .filter_map(|name| named.get(&**name).map(|reason| Rejection::new(Arc::clone(name), reason.clone())))
        .collect();
    if !refused.is_empty() {
        return refused;
    }
    sent.into_iter().map(|name| Rejection::new(Arc::clone(name), status.message.clone())).collect()
}

/// Cuts a text at a character's border.
fn shortened(mut text: String) -> String {
    if text.len() > REASON_MAX {
        let end = (0..=REASON_MAX).rev().find(|&at| text.is_char_boundary(at)).unwrap_or(0);
        text.truncate(end);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names() -> Vec<Arc<str>> {
        ["a", "b", "c"].map(Arc::from).to_vec()
    }

    #[test]
    fn a_nack_names_what_it_refuses() {
        let refused = [Rejection::new("b", "port 0: ports start at 1")];
        let status = to_status(&refused, 3);
        assert_eq!(status.message, "1 of 3 resources refused: b: port 0: ports start at 1");
        assert_eq!(from_status(&status, &names()), refused);
    }

    #[test]
    fn a_nack_without_names_refuses_everything_that_was_sent() {
        let status = Status { code: 13, message: "no".into(), details: vec![] };
        let refused = from_status(&status, &names());
        assert_eq!(refused.len(), 3);
        assert!(refused.iter().all(|rejection| rejection.reason == "no"));
    }

    #[test]
    fn names_that_were_not_sent_are_not_believed() {
        let status = to_status(&[Rejection::new("z", "x"), Rejection::new("a", "y")], 3);
        assert_eq!(from_status(&status, &names()), [Rejection::new("a", "y")]);
    }

    #[test]
    fn a_reason_has_a_bound() {
        let long = "ä".repeat(REASON_MAX);
        let reason = Rejection::new("a", long).reason;
        assert!(reason.len() <= REASON_MAX && reason.starts_with('ä'));
    }
}
