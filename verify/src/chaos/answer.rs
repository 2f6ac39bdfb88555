//! An answer that was read to its end, compared with its request.

use bytes::{Buf, Bytes, BytesMut};
use http::{HeaderMap, StatusCode};

use super::content;
use super::request::{Call, Kind, Outcome};

/// What precedes each message of gRPC: whether it is compressed, and its length.
const PREFIX: usize = 5;

/// What came of a request.
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Result<Bytes, String>,
    pub(super) trailers: Option<HeaderMap>,
}

impl Answer {
    /// What it is for the request of this number.
    pub(super) fn judge(&self, number: u64, kind: Kind) -> Outcome {
        let field =
            |name: &str| self.headers.get(name).map(|value| String::from_utf8_lossy(value.as_bytes()));
        if let Some(reason) = field("x-weft-error") {
            return Outcome::Refused(reason.into_owned());
        }
        if self.status != StatusCode::OK {
            return Outcome::Failed(format!("status {}", self.status.as_u16()));
        }
        let is_grpc = kind.service.is_grpc();
        if is_grpc && let Some(status) = field("grpc-status") {
            return Outcome::Failed(format!("grpc-status {status}"));
        }
        let its_own = field(content::NUMBER).unwrap_or_default();
        if its_own != number.to_string() {
            return Outcome::Mixed(format!("the answer to request {its_own:?}"));
        }
        let sent = if kind.call == Call::Put { content::of_request(number) } else { Bytes::new() };
        if field(content::RECEIVED).unwrap_or_default() != content::hash(&sent) {
            return Outcome::Mixed("the application has received another body".to_owned());
        }
        let instance = field(content::INSTANCE).unwrap_or_default().into_owned();
        let Ok(body) = &self.body else { return Outcome::Torn(instance) };
        let whole = if is_grpc { messages(body) } else { Some(body.clone()) };
        let expected =
            if kind.call == Call::Large { content::large(number) } else { content::of_answer(number) };
        if whole.is_none_or(|whole| whole != expected) {
            return Outcome::Mixed(format!("another body, of {} octets", body.len()));
        }
        let status = self.trailers.as_ref().and_then(|trailers| trailers.get("grpc-status"));
        match (is_grpc, status.map(http::HeaderValue::as_bytes)) {
            (false, _) | (true, Some(b"0")) => Outcome::Answered(instance),
            (true, status) => Outcome::Mixed(format!("a whole answer with grpc-status {status:?}")),
        }
    }
}

/// One message of gRPC.
pub(super) fn message(content: &[u8]) -> Bytes {
    let mut message = BytesMut::with_capacity(PREFIX + content.len());
    message.extend_from_slice(&[0]);
    message.extend_from_slice(&u32::try_from(content.len()).unwrap_or(u32::MAX).to_be_bytes());
    message.extend_from_slice(content);
    message.freeze()
}

/// What whole messages of gRPC hold, one after the other.
pub(super) fn messages(body: &[u8]) -> Option<Bytes> {
    let (mut rest, mut content) = (body, BytesMut::new());
    while !rest.is_empty() {
        let (prefix, behind) = rest.split_at_checked(PREFIX)?;
        let length = (&prefix[1..]).get_u32() as usize;
        let (message, behind) = behind.split_at_checked(length)?;
        content.extend_from_slice(message);
        rest = behind;
    }
    Some(content.freeze())
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;
    use crate::chaos::request::Service;

    const GET: Kind = Kind { service: Service::Http1, call: Call::Get };

    fn answer(number: u64, body: Bytes) -> Answer {
        let mut headers = HeaderMap::new();
        headers.insert(content::NUMBER, number.into());
        headers.insert(content::INSTANCE, HeaderValue::from_static("application-0"));
        headers.insert(content::RECEIVED, content::hash(&[]).parse().unwrap());
        Answer { status: StatusCode::OK, headers, body: Ok(body), trailers: None }
    }

    #[test]
    fn an_answer_is_only_taken_for_its_own_request() {
        let own = answer(7, content::of_answer(7));
        assert_eq!(own.judge(7, GET), Outcome::Answered("application-0".to_owned()));
        for (answer, of) in [
            (answer(8, content::of_answer(7)), "number"),
            (answer(7, content::of_answer(8)), "body"),
            (answer(7, content::of_answer(7).slice(1..)), "length"),
        ] {
            assert!(matches!(answer.judge(7, GET), Outcome::Mixed(_)), "{of}");
        }
        let put = Kind { call: Call::Put, ..GET };
        assert!(matches!(own.judge(7, put), Outcome::Mixed(_)), "the body of the request got lost");
    }

    #[test]
    fn an_answer_that_breaks_off_is_told_from_one_of_a_proxy_and_from_a_failure_of_the_application() {
        let torn = Answer { body: Err("reset".to_owned()), ..answer(7, Bytes::new()) };
        assert_eq!(torn.judge(7, GET), Outcome::Torn("application-0".to_owned()));
        let mut refused = answer(7, Bytes::new());
        refused.headers.insert("x-weft-error", HeaderValue::from_static("no_endpoints"));
        assert_eq!(refused.judge(7, GET), Outcome::Refused("no_endpoints".to_owned()));
        let failed = Answer { status: StatusCode::INTERNAL_SERVER_ERROR, ..answer(7, Bytes::new()) };
        assert_eq!(failed.judge(7, GET), Outcome::Failed("status 500".to_owned()));
    }

    #[test]
    fn a_call_of_grpc_is_answered_by_messages_and_a_status_behind_them() {
        let call = Kind { service: Service::Grpc, ..GET };
        let content = content::of_answer(7);
        let (first, second) = content.split_at(content.len() / 2);
        let body = [message(first), message(second)].concat();
        assert_eq!(messages(&body), Some(content));
        assert_eq!(messages(&body[..body.len() - 1]), None);
        let with = |status: &'static str| {
            let trailers = HeaderMap::from_iter([(
                http::HeaderName::from_static("grpc-status"),
                HeaderValue::from_static(status),
            )]);
            Answer { trailers: Some(trailers), ..answer(7, body.clone().into()) }.judge(7, call)
        };
        assert_eq!(with("0"), Outcome::Answered("application-0".to_owned()));
        assert!(matches!(with("14"), Outcome::Mixed(_)));
        let without = answer(7, body.clone().into());
        assert!(matches!(without.judge(7, call), Outcome::Mixed(_)), "the status is missing");
        let mut failed = answer(7, Bytes::new());
        failed.headers.insert("grpc-status", HeaderValue::from_static("14"));
        assert_eq!(failed.judge(7, call), Outcome::Failed("grpc-status 14".to_owned()));
    }
}
