//! Heads from `http`'s types to blocks.

use bytes::{BufMut, BytesMut};
use http::{HeaderMap, Method, StatusCode, Uri, Version, request, response};

use super::names::{Original, put_code, put_literal};
use super::{
    BlockLimits, METHODS, OriginalNames, Protocol, RESPONSE_REASON, Reason, has_case, present, table,
};
use crate::error::HeadError;
use crate::metadata::{RequestMetadata, ResponseMetadata};
use crate::wire::{put_string, put_varint};

/// Writes the block of a request's head. On an error `out` is as before.
pub(crate) fn encode_request(
    out: &mut BytesMut,
    parts: &request::Parts,
    metadata: &RequestMetadata,
    limits: BlockLimits,
) -> Result<(), HeadError> {
    within(out, limits, |out| {
        out.put_u8(version_code(parts.version));
        put_method(out, &parts.method);
        put_target(out, &parts.uri, parts.extensions.get());
        metadata.encode(out);
        put_fields(out, &parts.headers, original_names(parts.version, &parts.extensions), limits)
    })
}

/// Writes the block of a final or interim answer's head. On an error `out` is as before.
pub(crate) fn encode_response(
    out: &mut BytesMut,
    parts: &response::Parts,
    metadata: &ResponseMetadata,
    limits: BlockLimits,
) -> Result<(), HeadError> {
    within(out, limits, |out| {
        out.put_u8(version_code(parts.version));
        out.put_u16(StatusCode::as_u16(&parts.status));
        match parts.extensions.get::<Reason>() {
            Some(reason) => {
                out.put_u8(RESPONSE_REASON);
                put_string(out, reason.as_bytes());
            }
            None => out.put_u8(0),
        }
        metadata.encode(out);
        put_fields(out, &parts.headers, original_names(parts.version, &parts.extensions), limits)
    })
}

/// Writes the block of trailers. On an error `out` is as before.
pub(crate) fn encode_trailers(
    out: &mut BytesMut,
    fields: &HeaderMap,
    names: Option<&OriginalNames>,
    limits: BlockLimits,
) -> Result<(), HeadError> {
    within(out, limits, |out| {
        // No metadata: none has a meaning after a body yet.
        put_varint(out, 0);
        put_fields(out, fields, names, limits)
    })
}

/// Lets `write` append to `out` and takes it back when it fails or wrote too much.
fn within(
    out: &mut BytesMut,
    limits: BlockLimits,
    write: impl FnOnce(&mut BytesMut) -> Result<(), HeadError>,
) -> Result<(), HeadError> {
    let start = out.len();
    let mut result = write(out);
    if result.is_ok() && out.len() - start > limits.octets {
        result = Err(HeadError::TooLarge { limit: limits.octets });
    }
    if result.is_err() {
        out.truncate(start);
    }
    result
}

fn version_code(version: Version) -> u8 {
    match version {
        Version::HTTP_2 => 2,
        Version::HTTP_3 => 3,
        Version::HTTP_11 => 1,
        // HTTP/0.9 has no heads; what claims to be it is answered like HTTP/1.0.
        _ => 0,
    }
}

fn put_method(out: &mut BytesMut, method: &Method) {
    if let Some(at) = METHODS.iter().position(|known| known == method) {
        out.put_u8(at as u8 + 1);
    } else {
        out.put_u8(0);
        put_string(out, method.as_str().as_bytes());
    }
}

fn put_target(out: &mut BytesMut, target: &Uri, protocol: Option<&Protocol>) {
    let (scheme, literal_scheme) = match target.scheme_str() {
        None => (0, None),
        Some("http") => (present::SCHEME_HTTP, None),
        Some("https") => (present::SCHEME_HTTPS, None),
        Some(other) => (present::SCHEME_LITERAL, Some(other)),
    };
    let authority = target.authority();
    let path = target.path_and_query();
    out.put_u8(
        scheme
            | authority.map_or(0, |_| present::AUTHORITY)
            | path.map_or(0, |_| present::PATH)
            | protocol.map_or(0, |_| present::PROTOCOL),
    );
    if let Some(scheme) = literal_scheme {
        put_string(out, scheme.as_bytes());
    }
    if let Some(authority) = authority {
        put_string(out, authority.as_str().as_bytes());
    }
    if let Some(path) = path {
        put_string(out, path.as_str().as_bytes());
    }
    if let Some(protocol) = protocol {
        put_string(out, protocol.as_bytes());
    }
}

fn original_names(version: Version, extensions: &http::Extensions) -> Option<&OriginalNames> {
    if has_case(version) { extensions.get() } else { None }
}

fn put_fields(
    out: &mut BytesMut,
    fields: &HeaderMap,
    names: Option<&OriginalNames>,
    limits: BlockLimits,
) -> Result<(), HeadError> {
    if fields.len() > limits.fields {
        return Err(HeadError::TooManyFields { limit: limits.fields });
    }
    put_varint(out, fields.len() as u64);
    if let Some(names) = names {
        names.for_each_original(fields, |original, value| {
            match original {
                Original::Code(code) => put_code(out, code),
                Original::Literal(name) => put_literal(out, name),
            }
            put_string(out, value.as_bytes());
        });
        return Ok(());
    }
    for (name, value) in fields {
        let name = name.as_str().as_bytes();
        match table::code_of(name) {
            Some(code) => put_code(out, code),
            None => put_literal(out, name),
        }
        put_string(out, value.as_bytes());
    }
    Ok(())
}
