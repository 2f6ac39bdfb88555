//! Heads: what a message says before its body, and the fields after it.
//!
//! A head travels as it was sent: the version, the form of the target, the order, repetition and
//! case of the fields. Values are literal; common names are one octet.

mod decode;
mod encode;
mod names;
mod table;

use bytes::{Bytes, BytesMut};
use http::{request, response};

use crate::error::HeadError;
use crate::limits::{Config, FIELDS_CEILING};
use crate::metadata::{RequestMetadata, ResponseMetadata};

pub(crate) use decode::{decode_informational, decode_request, decode_response, decode_trailers};
pub(crate) use encode::{encode_request, encode_response, encode_trailers};
pub use names::OriginalNames;

/// The head of a request and what the caller's proxy says about it.
#[derive(Debug, Clone)]
pub struct RequestHead {
    /// The head as the application sent it. Its extensions hold [`OriginalNames`] when names were not
    /// all in lower case or fields of one name were repeated (HTTP/1 only), and [`Protocol`] when the
    /// request has one.
    pub parts: request::Parts,
    /// What the caller's proxy says about the request.
    pub metadata: RequestMetadata,
}

impl RequestHead {
    /// Reads the block of a head, as it stands in HEAD frames. Values share the block's memory.
    pub fn decode(block: &Bytes, config: &Config) -> Result<Self, HeadError> {
        decode_request(block, config.into())
    }

    /// Appends the block of the head to `out`, which is as before on an error.
    pub fn encode(&self, out: &mut BytesMut, config: &Config) -> Result<(), HeadError> {
        encode_request(out, &self.parts, &self.metadata, config.into())
    }

    /// The request with `body`, and the metadata.
    pub fn into_request<B>(self, body: B) -> (http::Request<B>, RequestMetadata) {
        (http::Request::from_parts(self.parts, body), self.metadata)
    }
}

/// The head of a final answer and what the answering proxy says about it.
#[derive(Debug, Clone)]
pub struct ResponseHead {
    /// The head as the application sent it. Its extensions may hold [`OriginalNames`] and [`Reason`].
    pub parts: response::Parts,
    /// What the answering proxy says about the answer.
    pub metadata: ResponseMetadata,
}

impl ResponseHead {
    /// Reads the block of a head, as it stands in HEAD frames. Values share the block's memory.
    pub fn decode(block: &Bytes, config: &Config) -> Result<Self, HeadError> {
        decode_response(block, config.into())
    }

    /// Appends the block of the head to `out`, which is as before on an error.
    pub fn encode(&self, out: &mut BytesMut, config: &Config) -> Result<(), HeadError> {
        encode_response(out, &self.parts, &self.metadata, config.into())
    }

    /// The answer with `body`, and the metadata.
    pub fn into_response<B>(self, body: B) -> (http::Response<B>, ResponseMetadata) {
        (http::Response::from_parts(self.parts, body), self.metadata)
    }
}

/// An extension of a request: the `:protocol` of an extended CONNECT (RFC 8441, section 4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protocol(Bytes);

impl Protocol {
    /// A protocol's name, which must be a token (RFC 9110, section 5.6.2); `None` when it is not.
    pub fn new(name: Bytes) -> Option<Self> {
        let is_token = !name.is_empty() && name.iter().copied().all(is_token_octet);
        is_token.then_some(Self(name))
    }

    /// The protocol's name.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The protocol's name.
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.0).expect("a token is ASCII")
    }
}

/// An extension of an answer: the reason phrase of HTTP/1, when it is not the customary one
/// (RFC 9112, section 4).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason(Bytes);

impl Reason {
    /// A phrase of visible octets, spaces and tabs; `None` when it holds anything else.
    pub fn new(phrase: Bytes) -> Option<Self> {
        let is_phrase = phrase.iter().all(|octet| matches!(octet, b'\t' | b' '..=b'~' | 0x80..));
        is_phrase.then_some(Self(phrase))
    }

    /// The phrase's octets.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

/// What a block may hold at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BlockLimits {
    /// Octets.
    pub(crate) octets: usize,
    /// Fields.
    pub(crate) fields: usize,
}

impl From<&Config> for BlockLimits {
    fn from(config: &Config) -> Self {
        // More names than this make `http::HeaderMap` panic.
        Self { octets: config.max_head, fields: config.max_fields.min(FIELDS_CEILING) }
    }
}

/// Whether an octet may be part of a token (RFC 9110, section 5.6.2).
fn is_token_octet(octet: u8) -> bool {
    octet.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&octet)
}

/// The request target's parts that a head says it has.
mod present {
    pub(super) const SCHEME: u8 = 0x03;
    pub(super) const SCHEME_HTTP: u8 = 1;
    pub(super) const SCHEME_HTTPS: u8 = 2;
    pub(super) const SCHEME_LITERAL: u8 = 3;
    pub(super) const AUTHORITY: u8 = 0x04;
    pub(super) const PATH: u8 = 0x08;
    pub(super) const PROTOCOL: u8 = 0x10;
    pub(super) const ALL: u8 = SCHEME | AUTHORITY | PATH | PROTOCOL;
}

/// What the head of an answer says it has.
const RESPONSE_REASON: u8 = 0x01;

/// Methods that are one octet: the code is the index plus one.
static METHODS: [http::Method; 9] = [
    http::Method::GET,
    http::Method::POST,
    http::Method::PUT,
    http::Method::DELETE,
    http::Method::HEAD,
    http::Method::OPTIONS,
    http::Method::CONNECT,
    http::Method::PATCH,
    http::Method::TRACE,
];

/// Versions: the code is the index.
const VERSIONS: [http::Version; 4] =
    [http::Version::HTTP_10, http::Version::HTTP_11, http::Version::HTTP_2, http::Version::HTTP_3];

/// Whether the names of fields have a case in this version of HTTP.
fn has_case(version: http::Version) -> bool {
    version <= http::Version::HTTP_11
}
