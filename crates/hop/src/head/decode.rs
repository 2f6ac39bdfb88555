//! Heads from blocks to `http`'s types.

use bytes::Bytes;
use http::header::{HeaderName, HeaderValue};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Method, Request, Response, StatusCode, Uri, Version, request, response};

use super::{
    BlockLimits, METHODS, OriginalNames, Protocol, RESPONSE_REASON, Reason, RequestHead, ResponseHead,
    VERSIONS, has_case, is_token_octet, present, table,
};
use crate::error::HeadError;
use crate::metadata::{self, RequestMetadata, ResponseMetadata};
use crate::wire::Reader;

/// Reads the block of a request's head. Values share the block's memory.
pub(crate) fn decode_request(block: &Bytes, limits: BlockLimits) -> Result<RequestHead, HeadError> {
    let mut reader = begin(block, limits)?;
    let (mut parts, ()) = Request::new(()).into_parts();
    parts.version = version(&mut reader)?;
    parts.method = method(&mut reader)?;
    target(&mut reader, &mut parts)?;
    let metadata = RequestMetadata::read(&mut reader)?;
    let (fields, names) = fields(&mut reader, has_case(parts.version), limits)?;
    parts.headers = fields;
    if let Some(names) = names {
        parts.extensions.insert(names);
    }
    Ok(RequestHead { parts, metadata })
}

/// Reads the block of a final answer's head. Values share the block's memory.
pub(crate) fn decode_response(block: &Bytes, limits: BlockLimits) -> Result<ResponseHead, HeadError> {
    let (parts, metadata) = decode_answer(block, limits)?;
    if parts.status.is_informational() && parts.status != StatusCode::SWITCHING_PROTOCOLS {
        return Err(HeadError::Malformed("an interim status in a final head"));
    }
    Ok(ResponseHead { parts, metadata })
}

/// Reads the block of an interim answer's head. Values share the block's memory.
pub(crate) fn decode_informational(block: &Bytes, limits: BlockLimits) -> Result<response::Parts, HeadError> {
    let (parts, _) = decode_answer(block, limits)?;
    if !parts.status.is_informational() || parts.status == StatusCode::SWITCHING_PROTOCOLS {
        return Err(HeadError::Malformed("a final status in an interim head"));
    }
    Ok(parts)
}

/// Reads the block of trailers. Values share the block's memory.
pub(crate) fn decode_trailers(
    block: &Bytes,
    limits: BlockLimits,
) -> Result<(HeaderMap, Option<OriginalNames>), HeadError> {
    let mut reader = begin(block, limits)?;
    metadata::skip(&mut reader)?;
    fields(&mut reader, true, limits)
}

fn begin(block: &Bytes, limits: BlockLimits) -> Result<Reader<'_>, HeadError> {
    if block.len() > limits.octets {
        return Err(HeadError::TooLarge { limit: limits.octets });
    }
    Ok(Reader::new(block))
}

fn decode_answer(
    block: &Bytes,
    limits: BlockLimits,
) -> Result<(response::Parts, ResponseMetadata), HeadError> {
    let mut reader = begin(block, limits)?;
    let (mut parts, ()) = Response::new(()).into_parts();
    parts.version = version(&mut reader)?;
    parts.status = StatusCode::from_u16(reader.u16()?)
        .map_err(|_| HeadError::Malformed("a status outside of 100 to 999"))?;
    match reader.octet()? {
        0 => {}
        RESPONSE_REASON => {
            let reason =
                Reason::new(reader.string()?).ok_or(HeadError::Malformed("an invalid reason phrase"))?;
            parts.extensions.insert(reason);
        }
        _ => return Err(HeadError::Malformed("unknown parts of an answer's head")),
    }
    let metadata = ResponseMetadata::read(&mut reader)?;
    let (fields, names) = fields(&mut reader, has_case(parts.version), limits)?;
    parts.headers = fields;
    if let Some(names) = names {
        parts.extensions.insert(names);
    }
    Ok((parts, metadata))
}

fn version(reader: &mut Reader<'_>) -> Result<Version, HeadError> {
    let code = usize::from(reader.octet()?);
    VERSIONS.get(code).copied().ok_or(HeadError::Malformed("an unknown version of HTTP"))
}

fn method(reader: &mut Reader<'_>) -> Result<Method, HeadError> {
    let code = usize::from(reader.octet()?);
    let Some(at) = code.checked_sub(1) else {
        let length = reader.length()?;
        let method = reader.bytes(length)?;
        return Method::from_bytes(method).map_err(|_| HeadError::Malformed("an invalid method"));
    };
    METHODS.get(at).cloned().ok_or(HeadError::Malformed("an unknown code of a method"))
}

fn target(reader: &mut Reader<'_>, parts: &mut request::Parts) -> Result<(), HeadError> {
    const INVALID_SCHEME: HeadError = HeadError::Malformed("an invalid scheme");
    const INVALID_AUTHORITY: HeadError = HeadError::Malformed("an invalid authority");
    const INVALID_PATH: HeadError = HeadError::Malformed("an invalid path");

    let has = reader.octet()?;
    if has & !present::ALL != 0 {
        return Err(HeadError::Malformed("unknown parts of a request's head"));
    }
    let mut uri = http::uri::Parts::default();
    uri.scheme = match has & present::SCHEME {
        present::SCHEME_HTTP => Some(Scheme::HTTP),
        present::SCHEME_HTTPS => Some(Scheme::HTTPS),
        present::SCHEME_LITERAL => {
            let length = reader.length()?;
            Some(Scheme::try_from(reader.bytes(length)?).map_err(|_| INVALID_SCHEME)?)
        }
        _ => None,
    };
    if has & present::AUTHORITY != 0 {
        let authority = reader.string()?;
        if authority.is_empty() {
            return Err(INVALID_AUTHORITY);
        }
        uri.authority = Some(Authority::from_maybe_shared(authority).map_err(|_| INVALID_AUTHORITY)?);
    }
    if has & present::PATH != 0 {
        let path = reader.string()?;
        // `PathAndQuery` drops fragments silently; a target that had one would arrive changed.
        if path.is_empty() || path.contains(&b'#') {
            return Err(INVALID_PATH);
        }
        uri.path_and_query = Some(PathAndQuery::from_maybe_shared(path).map_err(|_| INVALID_PATH)?);
    }
    if has & present::PROTOCOL != 0 {
        let protocol = Protocol::new(reader.string()?).ok_or(HeadError::Malformed("an invalid protocol"))?;
        parts.extensions.insert(protocol);
    }
    if uri.authority.is_none() && uri.path_and_query.is_none() {
        return Err(HeadError::Malformed("a request without a target"));
    }
    // An authority alone is what a tunnel is asked for by, and nothing else is (RFC 9112 section 3.2.3, RFC 8441 section 4).
    let has_path = uri.path_and_query.is_some();
    let extended = parts.extensions.get::<Protocol>().is_some();
    if has_path == (parts.method == Method::CONNECT && !extended)
        || (extended && parts.method != Method::CONNECT)
    {
        return Err(HeadError::Malformed("a target that the method does not have"));
    }
    parts.uri = Uri::from_parts(uri).map_err(|_| HeadError::Malformed("a target of no known form"))?;
    Ok(())
}

/// Reads the fields, which must end the block. The names as they were sent are returned when the map
/// alone would lose something.
fn fields(
    reader: &mut Reader<'_>,
    has_case: bool,
    limits: BlockLimits,
) -> Result<(HeaderMap, Option<OriginalNames>), HeadError> {
    const TOO_MANY: fn(BlockLimits) -> HeadError = |limits| HeadError::TooManyFields { limit: limits.fields };

    let count = usize::try_from(reader.varint()?).unwrap_or(usize::MAX);
    if count > limits.fields {
        return Err(TOO_MANY(limits));
    }
    // A field takes two octets at least, which keeps a short block from asking for a large map.
    let mut fields = HeaderMap::with_capacity(count.min(reader.remaining() / 2));
    let mut names = OriginalNames::new();
    let mut map_loses = false;
    for _ in 0..count {
        let name = name(reader, has_case, &mut names, &mut map_loses)?;
        let value = HeaderValue::from_maybe_shared(reader.string()?)
            .map_err(|_| HeadError::Malformed("an invalid field value"))?;
        // Repeated fields lose their place among the others, because the map keeps them together.
        map_loses |= fields.try_append(name, value).map_err(|_| TOO_MANY(limits))?;
    }
    if reader.remaining() > 0 {
        return Err(HeadError::Malformed("octets after the last field"));
    }
    Ok((fields, (has_case && map_loses).then_some(names)))
}

/// Reads a name and adds it to `names` where names have a case.
fn name(
    reader: &mut Reader<'_>,
    has_case: bool,
    names: &mut OriginalNames,
    map_loses: &mut bool,
) -> Result<HeaderName, HeadError> {
    const UPPER_CASE: HeadError = HeadError::Malformed("an upper-case name where names have no case");

    let code = reader.octet()?;
    if code != 0 {
        let known = table::name_of(code).ok_or(HeadError::Malformed("an unknown code of a name"))?;
        let is_written = code & table::WRITTEN != 0;
        if has_case {
            *map_loses |= is_written;
            names.push_code(code);
        } else if is_written {
            return Err(UPPER_CASE);
        }
        return Ok(known.clone());
    }
    let length = reader.length()?;
    let literal = reader.bytes(length)?;
    if !literal.iter().copied().all(is_token_octet) {
        return Err(HeadError::Malformed("an invalid field name"));
    }
    let has_upper = literal.iter().any(u8::is_ascii_uppercase);
    if has_case {
        *map_loses |= has_upper;
        names.push_literal(literal);
    } else if has_upper {
        return Err(UPPER_CASE);
    }
    HeaderName::from_bytes(literal).map_err(|_| HeadError::Malformed("an invalid field name"))
}
