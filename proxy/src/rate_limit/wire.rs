//! The contract's messages.

use std::borrow::Cow;
use std::time::Duration;

use bytes::{BufMut as _, Bytes, BytesMut};
use envoy_types::pb::envoy::config::core::v3::HeaderValue as WireField;
use envoy_types::pb::envoy::extensions::common::ratelimit::v3::RateLimitDescriptor;
use envoy_types::pb::envoy::extensions::common::ratelimit::v3::rate_limit_descriptor::Entry;
use envoy_types::pb::envoy::service::ratelimit::v3::rate_limit_response::{Code, DescriptorStatus};
use envoy_types::pb::envoy::service::ratelimit::v3::{RateLimitRequest, RateLimitResponse};
use http::HeaderMap;
use prost::Message as _;

use super::field;

/// The method that is called.
pub(crate) const PATH: &str = "/envoy.service.ratelimit.v3.RateLimitService/ShouldRateLimit";
/// What goes before a message of gRPC: whether it is compressed, and its length (gRPC over HTTP/2, "Length-Prefixed-Message").
const PREFIX: usize = 5;

/// What the service said.
#[derive(Debug)]
pub(super) struct Answered {
    pub(super) verdict: Verdict,
    /// Fields to add to the request.
    pub(super) request: HeaderMap,
    /// Fields to add to the answer.
    pub(super) response: HeaderMap,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Within,
    /// Over a limit, which begins anew after this time if the service says when.
    Over {
        reset: Option<Duration>,
    },
}

/// The message that asks of a request which counts as these descriptors.
pub(super) fn question(domain: &str, descriptors: &[Vec<(&str, Cow<'_, str>)>]) -> Bytes {
    let entry = |(key, value): &(&str, Cow<'_, str>)| Entry {
        key: (*key).to_owned(),
        value: value.clone().into_owned(),
    };
    let request = RateLimitRequest {
        domain: domain.to_owned(),
        descriptors: descriptors
            .iter()
            .map(|entries| RateLimitDescriptor {
                entries: entries.iter().map(entry).collect(),
                ..RateLimitDescriptor::default()
            })
            .collect(),
        hits_addend: 0,
    };
    let mut message = BytesMut::with_capacity(PREFIX + request.encoded_len());
    message.put_u8(0);
    message.put_u32(request.encoded_len() as u32);
    message.put_slice(&request.encode_to_vec());
    message.freeze()
}

/// Reads the body of an answer, which is one message.
pub(super) fn answer(body: &[u8]) -> Result<Answered, String> {
    let message = match body.split_at_checked(PREFIX) {
        Some(([0, length @ ..], message)) => {
            let length = length.iter().fold(0, |length, byte| length << 8 | usize::from(*byte));
            Some(message).filter(|message| message.len() == length)
        }
        _ => None,
    };
    let message = message.ok_or("its answer is not one uncompressed message of gRPC")?;
    let response = RateLimitResponse::decode(message).map_err(|error| format!("its answer: {error}"))?;
    let verdict = match response.overall_code() {
        Code::Ok => Verdict::Within,
        Code::OverLimit => Verdict::Over { reset: reset(&response.statuses) },
        Code::Unknown => return Err("its answer has no code".to_owned()),
    };
    Ok(Answered {
        verdict,
        request: fields(&response.request_headers_to_add),
        response: fields(&response.response_headers_to_add),
    })
}

/// When every limit that the request is over begins anew.
fn reset(statuses: &[DescriptorStatus]) -> Option<Duration> {
    let over = statuses.iter().filter(|status| status.code() == Code::OverLimit);
    over.filter_map(|status| status.duration_until_reset.as_ref())
        .filter_map(|reset| Some(Duration::new(reset.seconds.try_into().ok()?, reset.nanos.try_into().ok()?)))
        .max()
}

fn fields(wire: &[WireField]) -> HeaderMap {
    let value = |wire: &WireField| {
        let bytes =
            if wire.value.is_empty() { wire.raw_value.clone() } else { wire.value.clone().into_bytes() };
        field(&wire.key, &bytes)
    };
    let mut fields = HeaderMap::new();
    for (name, value) in wire.iter().filter_map(value) {
        fields.append(name, value);
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_message_is_refused_whatever_it_is() {
        for body in
            [&b""[..], b"\0\0\0\0", b"\x01\0\0\0\0", b"\0\0\0\0\x01", b"\0\0\0\0\x01\xff", b"\0\0\0\0\0"]
        {
            assert!(answer(body).is_err(), "{body:?}");
        }
    }

    #[test]
    fn a_question_is_one_message_with_its_length() {
        let message = question("shop", &[vec![("user", "ann".into())]]);
        assert_eq!(message.first(), Some(&0));
        let request = RateLimitRequest::decode(&message[PREFIX..]).unwrap();
        assert_eq!(
            (request.domain.as_str(), request.descriptors[0].entries[0].value.as_str()),
            ("shop", "ann")
        );
        assert_eq!(usize::from(message[4]), message.len() - PREFIX);
    }
}
