//! Trailers of HTTP/2, in which no pseudo-field may stand (RFC 9113 section 8.1).
//!
//! The library drops such a field and lets the message pass; in any block it refuses one behind another field (section 8.3).
//! So trailers get a field in front that is none of the client's. That holds whatever a pseudo-field is written as: by a name
//! in the static table, in a code, or by an entry of the dynamic table, which only the library knows.

use super::PADDED;
use super::cursor::{Frame, HEAD};
use crate::violation::Violation;

/// Octets of a frame of trailers: the library's frames are no larger, and the added field is one octet.
pub(super) const MAX_TRAILERS: usize = 16 * 1024 - 1;

/// `host` without a value, as entry 38 of the static table (RFC 7541, appendix A and section 6.1). It may not stand in
/// trailers (RFC 9110 section 6.5.1), so that whoever takes the field out again takes nothing that is needed.
const MARK: u8 = 0xa6;

const WITH_PRIORITY: u8 = 0x20;
/// The first three bits of an update of the table's size, and the number behind them (RFC 7541 section 6.3).
const SIZE_UPDATE: (u8, u8) = (0b1110_0000, 0b0010_0000);
const LONG: u8 = 0b0001_1111;
const GOES_ON: u8 = 0x80;

/// Appends a HEADERS frame of trailers, with the field in front, to `out`.
pub(super) fn marked(head: Frame, frame: &[u8], out: &mut Vec<u8>) -> Result<(), Violation> {
    let payload = frame.get(HEAD..).unwrap_or_default();
    let before = before_updates(head.flags, payload).ok_or(Violation::Http2Connection)?;
    let padding = if head.flags & PADDED == 0 { 0 } else { usize::from(*payload.first().unwrap_or(&0)) };
    let block = payload.get(before..).unwrap_or_default();
    // The octet that is added must not make up for one that is missing.
    let fields = block.len().checked_sub(padding).ok_or(Violation::Http2Connection)?;
    // An update that the next frame goes on with leaves no place: no client cuts one.
    let updates = size_updates(block.get(..fields).unwrap_or_default()).ok_or(Violation::Http2Connection)?;
    let (start, rest) = payload.split_at(before + updates);
    let length = u32::try_from(payload.len() + 1).unwrap_or(u32::MAX).to_be_bytes();
    out.extend_from_slice(length.get(1..).unwrap_or_default());
    out.extend_from_slice(frame.get(3..HEAD).unwrap_or_default());
    out.extend_from_slice(start);
    out.push(MARK);
    out.extend_from_slice(rest);
    Ok(())
}

/// Octets before the block of fields: the length of the padding, and the priority.
fn before_updates(flags: u8, payload: &[u8]) -> Option<usize> {
    let before = usize::from(flags & PADDED != 0) + if flags & WITH_PRIORITY == 0 { 0 } else { 5 };
    (before <= payload.len()).then_some(before)
}

/// Octets of the updates of the table's size that a block begins with, before which no field may stand; `None` where the
/// last one is not whole.
fn size_updates(block: &[u8]) -> Option<usize> {
    let mut at = 0;
    while let Some(octet) = block.get(at)
        && octet & SIZE_UPDATE.0 == SIZE_UPDATE.1
    {
        at += 1;
        if octet & LONG == LONG {
            let number = block.get(at..).unwrap_or_default();
            at += number.iter().position(|octet| octet & GOES_ON == 0)? + 1;
        }
    }
    Some(at)
}

#[cfg(test)]
mod tests {
    use super::super::END_HEADERS;
    use super::*;

    fn marked_payload(flags: u8, payload: &[u8]) -> Result<Vec<u8>, Violation> {
        let head = Frame { length: payload.len(), kind: 1, flags, stream: 1 };
        let mut frame = vec![0, 0, u8::try_from(payload.len()).unwrap(), 1, flags, 0, 0, 0, 1];
        frame.extend_from_slice(payload);
        let mut out = Vec::new();
        marked(head, &frame, &mut out)?;
        assert_eq!(usize::from(out[2]), payload.len() + 1);
        assert_eq!(out[3..9], frame[3..9]);
        Ok(out[9..].to_vec())
    }

    #[test]
    fn the_field_stands_before_all_of_the_client_and_behind_what_is_no_field() {
        let whole = END_HEADERS;
        for (flags, payload, expected) in [
            (whole, &[0x84][..], &[MARK, 0x84][..]),
            (whole, &[], &[MARK]),
            (0, &[], &[MARK]),
            (whole | PADDED, &[2, 0x84, 0, 0], &[2, MARK, 0x84, 0, 0]),
            (whole | WITH_PRIORITY, &[0, 0, 0, 3, 9, 0x84], &[0, 0, 0, 3, 9, MARK, 0x84]),
            (
                whole | PADDED | WITH_PRIORITY,
                &[1, 0, 0, 0, 3, 9, 0x84, 0],
                &[1, 0, 0, 0, 3, 9, MARK, 0x84, 0],
            ),
            (whole, &[0x20, 0x84], &[0x20, MARK, 0x84]),
            (whole, &[0x20, 0x3f, 0xe1, 0x1f, 0x84], &[0x20, 0x3f, 0xe1, 0x1f, MARK, 0x84]),
            (whole, &[0x20], &[0x20, MARK]),
            (0, &[0x20], &[0x20, MARK]),
        ] {
            assert_eq!(marked_payload(flags, payload).as_deref(), Ok(expected), "{payload:x?}");
        }
    }

    #[test]
    fn what_leaves_no_place_for_the_field_is_refused() {
        for (flags, payload) in [
            (END_HEADERS | PADDED, &[][..]),
            // One octet more would make these right.
            (END_HEADERS | PADDED, &[1]),
            (END_HEADERS | PADDED, &[3, 0x84, 0]),
            (END_HEADERS | WITH_PRIORITY, &[0, 0, 0, 3]),
            (END_HEADERS | PADDED | WITH_PRIORITY, &[1, 0, 0, 0, 3, 9]),
            // Updates of the table's size that the next frame goes on with.
            (0, &[0x3f]),
            (0, &[0x3f, 0xe1]),
            (END_HEADERS, &[0x3f, 0xe1]),
        ] {
            assert_eq!(marked_payload(flags, payload), Err(Violation::Http2Connection), "{payload:x?}");
        }
    }
}
