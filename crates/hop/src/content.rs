//! How long the content of a message is by its head, and whether DATA keeps to that (RFC 9110 sections 6.4 and 8.6).
//!
//! A stream says by itself where a message ends. A length in its head is a second word on the same thing, which the
//! proxy may have to repeat to an application that believes nothing else: both have to agree (as RFC 9113 section 8.1.1
//! demands of HTTP/2), or whoever counts would read the next message on its connection as the rest of this one.

use http::header::{CONNECTION, CONTENT_LENGTH, HOST, TE, TRANSFER_ENCODING, UPGRADE};
use http::{HeaderMap, Method, StatusCode, request, response};

use crate::error::HeadError;
use crate::head::Protocol;

/// What is known of the octets that are still to come in one direction of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Content {
    /// Octets of content that are still to come.
    left: Option<u64>,
    /// Whether a tunnel's octets may follow them.
    tunnel: bool,
}

/// What a request asks for, as far as it decides what the content of its answer is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asked {
    /// An answer with content.
    Content,
    /// An answer without (HEAD).
    Head,
    /// A tunnel (CONNECT).
    Tunnel,
    /// Another protocol (`Upgrade`, named by `Connection`).
    Upgrade,
}

impl Asked {
    pub(crate) fn of(head: &request::Parts) -> Self {
        if head.method == Method::CONNECT || head.extensions.get::<Protocol>().is_some() {
            Self::Tunnel
        } else if asks_for_upgrade(&head.headers) {
            Self::Upgrade
        } else if head.method == Method::HEAD {
            Self::Head
        } else {
            Self::Content
        }
    }
}

impl Content {
    /// Nothing is known.
    pub(crate) const UNKNOWN: Self = Self { left: None, tunnel: false };

    fn of(left: Option<u64>) -> Self {
        Self { left, tunnel: false }
    }

    /// Of a request. CONNECT has none: all DATA is the tunnel's. One that asks for another protocol has as much as it says, and
    /// what follows is the tunnel's (RFC 9110 section 7.8).
    pub(crate) fn of_request(head: &request::Parts, ends: bool) -> Result<Self, HeadError> {
        let length = announced(&head.headers)?;
        match Asked::of(head) {
            Asked::Tunnel if length.is_some_and(|length| length > 0) => {
                Err(HeadError::Framing("a length beside a request for a tunnel"))
            }
            Asked::Tunnel => Ok(Self::UNKNOWN),
            Asked::Upgrade => Self { left: length, tunnel: true }.checked(ends),
            Asked::Content | Asked::Head => Self::of(length).checked(ends),
        }
    }

    /// Of a final answer.
    pub(crate) fn of_answer(asked: Asked, head: &response::Parts, ends: bool) -> Result<Self, HeadError> {
        let switches = head.status == StatusCode::SWITCHING_PROTOCOLS;
        match asked {
            Asked::Upgrade if switches => return Ok(Self::UNKNOWN),
            _ if switches => return Err(HeadError::Malformed("a change of protocol that nobody asked for")),
            // A length there has no meaning (RFC 9110 section 9.3.6).
            Asked::Tunnel if head.status.is_success() => return Ok(Self::UNKNOWN),
            _ => {}
        }
        let length = announced(&head.headers)?;
        let is_empty =
            asked == Asked::Head || matches!(head.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
        Self::of(if is_empty { Some(0) } else { length }).checked(ends)
    }

    fn checked(self, ends: bool) -> Result<Self, HeadError> {
        if ends {
            self.end()?;
        }
        Ok(self)
    }

    /// Takes note of DATA, and of the end of the direction where it has that.
    pub(crate) fn arrive(&mut self, length: usize, ends: bool) -> Result<(), HeadError> {
        let Some(left) = &mut self.left else { return Ok(()) };
        *left = match left.checked_sub(length as u64) {
            Some(left) => left,
            None if self.tunnel => 0,
            None => return Err(HeadError::Framing("more content than its length says")),
        };
        if ends { self.end() } else { Ok(()) }
    }

    /// Takes note of the direction's end.
    pub(crate) fn end(self) -> Result<(), HeadError> {
        match self.left {
            None | Some(0) => Ok(()),
            Some(_) => Err(HeadError::Framing("less content than its length says")),
        }
    }
}

/// The length that a head announces.
fn announced(fields: &HeaderMap) -> Result<Option<u64>, HeadError> {
    const INVALID: HeadError = HeadError::Framing("a length that is no number of octets");

    if fields.contains_key(TRANSFER_ENCODING) {
        return Err(HeadError::Framing("a transfer coding, which HTTP/1.1 alone has"));
    }
    let mut lengths = fields.get_all(CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else { return Ok(None) };
    if lengths.next().is_some() {
        return Err(HeadError::Framing("several lengths"));
    }
    let length = length.as_bytes();
    if length.is_empty() || !length.iter().all(u8::is_ascii_digit) {
        return Err(INVALID);
    }
    // One that no signed number of 64 bits holds is one that somebody may read as another.
    let signed: i64 = std::str::from_utf8(length).ok().and_then(|text| text.parse().ok()).ok_or(INVALID)?;
    Ok(Some(signed.unsigned_abs()))
}

/// Whether fields name another protocol and `Connection` names that field (RFC 9110 section 7.8).
fn asks_for_upgrade(fields: &HeaderMap) -> bool {
    fields.contains_key(UPGRADE)
        && fields
            .get_all(CONNECTION)
            .iter()
            .flat_map(|value| value.as_bytes().split(|octet| *octet == b','))
            .any(|option| option.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
}

/// Refuses trailers that frame or route a message: whoever joins them to the head would see another one (RFC 9110 section
/// 6.5.1).
pub(crate) fn check_trailers(fields: &HeaderMap) -> Result<(), HeadError> {
    let belongs_into_head = [CONTENT_LENGTH, TRANSFER_ENCODING, HOST, CONNECTION, UPGRADE, TE];
    if belongs_into_head.iter().any(|name| fields.contains_key(name)) {
        return Err(HeadError::Framing("trailers with a field that belongs into the head"));
    }
    Ok(())
}
