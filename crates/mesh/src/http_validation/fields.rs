//! Fields of HTTP/1, line by line (RFC 9112 section 5, RFC 9110 section 5).

use crate::violation::Violation;

/// Whether each octet may stand in a token (RFC 9110 section 5.6.2).
const TOKEN: [bool; 256] = table(b"!#$%&'*+-.^_`|~", true);
/// Whether each octet may stand in a host with or without a port (RFC 3986 section 3.2), percent-encoded or not. A comma
/// may, by the grammar, but stands in no name that can be looked up, and between two in one that was put together.
const HOST: [bool; 256] = table(b"-._~%!$&'()*+;=:[]", true);

const fn table(others: &[u8], alphanumeric: bool) -> [bool; 256] {
    let mut table = [false; 256];
    let mut at = 0;
    while at < 256 {
        table[at] = alphanumeric && (at as u8).is_ascii_alphanumeric();
        at += 1;
    }
    at = 0;
    while at < others.len() {
        table[others[at] as usize] = true;
        at += 1;
    }
    table
}

fn all(bytes: &[u8], table: &[bool; 256]) -> bool {
    bytes.iter().all(|byte| table.get(usize::from(*byte)).copied().unwrap_or_default())
}

/// Whether this is a token.
pub(super) fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty() && all(bytes, &TOKEN)
}

/// Whether this names a host, perhaps with a port. An empty one stands for a target without an authority.
pub(super) fn is_host(bytes: &[u8]) -> bool {
    all(bytes, &HOST)
}

/// Whether an octet may stand in a field's value: everything but controls, the tabulator aside.
pub(super) fn is_value(byte: u8) -> bool {
    byte >= b' ' && byte != 0x7f || byte == b'\t'
}

/// Whether each octet may stand there. It looks at all of them, which takes less time than to stop at the first.
pub(super) fn are_values(bytes: &[u8]) -> bool {
    bytes.iter().fold(true, |so_far, byte| so_far & is_value(*byte))
}

/// Name and value of a field, without what surrounds the value.
pub(super) fn split(line: &[u8]) -> Result<(&[u8], &[u8]), Violation> {
    if line.first().is_some_and(|first| matches!(first, b' ' | b'\t')) {
        return Err(Violation::Folding);
    }
    let end = line.iter().position(|byte| !TOKEN.get(usize::from(*byte)).copied().unwrap_or_default());
    let (name, value) = line.split_at(end.ok_or(Violation::Field)?);
    let value = match value.split_first() {
        Some((b':', value)) if !name.is_empty() => value,
        _ => return Err(Violation::Field),
    };
    if are_values(value) {
        return Ok((name, trimmed(value)));
    }
    Err(if value.contains(&b'\r') { Violation::LineEnding } else { Violation::Field })
}

/// Without optional white space at either end.
pub(super) fn trimmed(mut value: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = value {
        value = rest;
    }
    value
}

/// A number of octets: digits alone, which no signed number of 64 bits is too small for.
pub(super) fn length(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let signed: i64 = std::str::from_utf8(value).ok()?.parse().ok()?;
    u64::try_from(signed).ok()
}
