//! The steps that servers take from the path of a request to the name of a resource, each for itself. What a step does not
//! change is given back as it was.

use super::OWN;

/// A step; `None` if it changes nothing.
pub(super) type Step = fn(&Text) -> Option<Text>;

/// What a server has at some moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) octets: Vec<u8>,
    /// Whether percent-encoding was undone, so that a `%` is a `%`.
    pub(super) decoded: bool,
}

/// Every step. Which ones a server takes, in which order and how often, is its own affair.
pub(super) const ALL: [Step; 12] = [
    // URL parsers undo what means the same, or all but slashes, before a server undoes the rest.
    |text| {
        made(text, spelled(&text.octets, text.decoded).into_bytes(), text.decoded)
            .filter(|made| !made.decoded)
    },
    |text| {
        made(text, decoded(&text.octets, |octet| !matches!(octet, b'/' | b'%')), false)
            .filter(|_| !text.decoded)
    },
    |text| made(text, decoded(&text.octets, |_| true), true),
    |text| made(text, with_slashes(&text.octets), text.decoded),
    |text| made(text, without_parameters(&text.octets), text.decoded),
    |text| made(text, without_empty_segments(&text.octets), text.decoded),
    |text| made(text, without_dot_segments(&text.octets), text.decoded),
    // Texts end at a NUL in C.
    |text| made(text, before(&text.octets, |octet| octet == 0), text.decoded),
    // What was decoded is parsed as a URL once more.
    |text| made(text, before(&text.octets, |octet| matches!(octet, b'?' | b'#')), text.decoded),
    |text| made(text, with_short_forms(&text.octets), text.decoded),
    // A path that begins with `//` is parsed as a reference, whose host comes first; others guard against just that.
    |text| made(text, with_one_slash_first(&text.octets), text.decoded),
    |text| made(text, without_authority(&text.octets), text.decoded),
];

fn made(from: &Text, octets: Vec<u8>, decoded: bool) -> Option<Text> {
    (octets != from.octets).then_some(Text { octets, decoded })
}

/// The octet that is encoded at the beginning of what follows a `%`.
fn encoded(after: &[u8]) -> Option<u8> {
    let digit = |at: usize| char::from(*after.get(at)?).to_digit(16);
    Some((digit(0)? * 16 + digit(1)?) as u8)
}

/// Undoes percent-encoding once, of these octets.
fn decoded(text: &[u8], which: impl Fn(u8) -> bool) -> Vec<u8> {
    let mut made = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        if let Some(octet) = encoded(after).filter(|octet| *first == b'%' && which(*octet)) {
            made.push(octet);
            rest = after.get(2..).unwrap_or_default();
        } else {
            made.push(*first);
            rest = after;
        }
    }
    made
}

/// The one spelling of a text: what means itself stands for itself, and all else is encoded.
pub(super) fn spelled(text: &[u8], is_decoded: bool) -> String {
    const HEX: &[u8; 16] = b"0123456789ABCDEF";
    let mut made = String::with_capacity(text.len());
    let mut push = |octet: u8, stands: bool| {
        if stands {
            made.push(char::from(octet));
        } else {
            made.push('%');
            made.push(char::from(HEX[usize::from(octet >> 4)]));
            made.push(char::from(HEX[usize::from(octet & 15)]));
        }
    };
    let mut rest = text;
    while let Some((first, after)) = rest.split_first() {
        if let Some(octet) = encoded(after).filter(|_| *first == b'%' && !is_decoded) {
            push(octet, OWN[usize::from(octet)]);
            rest = after.get(2..).unwrap_or_default();
        } else {
            push(*first, OWN[usize::from(*first)] || matches!(first, b'/' | b';'));
            rest = after;
        }
    }
    made
}

/// `\` is `/` (URL standard, for http).
pub(super) fn with_slashes(text: &[u8]) -> Vec<u8> {
    text.iter().map(|octet| if *octet == b'\\' { b'/' } else { *octet }).collect()
}

/// Without what follows `;` in each segment (parameters, RFC 3986, section 3.3).
fn without_parameters(text: &[u8]) -> Vec<u8> {
    let mut inside = false;
    let keep = |octet: &&u8| {
        inside = **octet == b';' || inside && **octet != b'/';
        !inside
    };
    text.iter().filter(keep).copied().collect()
}

/// One `/` in the place of several.
pub(super) fn without_empty_segments(text: &[u8]) -> Vec<u8> {
    let mut made = Vec::with_capacity(text.len());
    for octet in text {
        if *octet != b'/' || made.last() != Some(&b'/') {
            made.push(*octet);
        }
    }
    made
}

/// Without `.` and `..` (RFC 3986, section 5.2.4).
pub(super) fn without_dot_segments(text: &[u8]) -> Vec<u8> {
    let Some(rest) = text.strip_prefix(b"/") else { return text.to_vec() };
    let mut made = Vec::with_capacity(text.len());
    let mut open = false;
    for segment in rest.split(|octet| *octet == b'/') {
        open = matches!(segment, b"." | b"..");
        match segment {
            b"." => {}
            b".." => made.truncate(made.iter().rposition(|octet| *octet == b'/').unwrap_or(0)),
            name => {
                made.push(b'/');
                made.extend_from_slice(name);
            }
        }
    }
    if open || made.is_empty() {
        made.push(b'/');
    }
    made
}

fn with_one_slash_first(text: &[u8]) -> Vec<u8> {
    let begins = text.iter().position(|octet| *octet != b'/').unwrap_or(text.len());
    text.get(begins.saturating_sub(1)..).unwrap_or_default().to_vec()
}

/// The path of a reference to a host (RFC 3986, section 4.2), before whose name there may be any number of slashes (URL
/// standard, for http).
fn without_authority(text: &[u8]) -> Vec<u8> {
    if !text.starts_with(b"//") {
        return text.to_vec();
    }
    let host = text.iter().position(|octet| *octet != b'/').unwrap_or(text.len());
    let named = text.get(host..).unwrap_or_default();
    match named.iter().position(|octet| *octet == b'/') {
        Some(path) => named.get(path..).unwrap_or_default().to_vec(),
        None => b"/".to_vec(),
    }
}

fn before(text: &[u8], end: impl Fn(u8) -> bool) -> Vec<u8> {
    text.split(|octet| end(*octet)).next().unwrap_or_default().to_vec()
}

/// ASCII in the place of forms of UTF-8 that are longer than need be, which decoders should refuse (RFC 3629, section 3).
fn with_short_forms(text: &[u8]) -> Vec<u8> {
    let mut made = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.first() {
        let (octet, length) = match rest {
            [high @ (0xC0 | 0xC1), low @ 0x80..=0xBF, ..] => ((high & 1) << 6 | low & 0x3F, 2),
            [0xE0, high @ (0x80 | 0x81), low @ 0x80..=0xBF, ..] => ((high & 1) << 6 | low & 0x3F, 3),
            [0xF0, 0x80, high @ (0x80 | 0x81), low @ 0x80..=0xBF, ..] => ((high & 1) << 6 | low & 0x3F, 4),
            _ => (*first, 1),
        };
        made.push(octet);
        rest = rest.get(length..).unwrap_or_default();
    }
    made
}
