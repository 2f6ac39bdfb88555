//! Speaking HTTP/2 frame by frame, right or wrong, and reading no more than how it ends.

use std::cell::RefCell;

use tokio::net::TcpStream;

use crate::differential::message::{Body, End, Fields, Framing, Got, Reply, Version};
use crate::differential::wire::{Out, Wire, sides};

/// Types of frames (RFC 9113 section 6).
pub(crate) const DATA: u8 = 0;
pub(crate) const HEADERS: u8 = 1;
pub(crate) const RST_STREAM: u8 = 3;
pub(crate) const SETTINGS: u8 = 4;
pub(crate) const GOAWAY: u8 = 7;
/// Flags of frames.
pub(crate) const END_STREAM: u8 = 1;
pub(crate) const END_HEADERS: u8 = 4;
const ACK: u8 = 1;

/// A frame.
pub(crate) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    let mut bytes = length.get(1..).unwrap_or_default().to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Sends `bytes` after the preface and SETTINGS, and says how it stands with stream 1 in the end.
pub(super) async fn exchange(stream: TcpStream, bytes: &[u8], got: &RefCell<Got>) -> End {
    let (mut wire, mut out) = sides(stream);
    // No dynamic table for answers, so that a status can be read without one: SETTINGS_HEADER_TABLE_SIZE is 0.
    let settings = frame(SETTINGS, 0, 0, &[0, 1, 0, 0, 0, 0]);
    let start = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", settings.as_slice(), bytes].concat();
    if let Err(end) = out.write(&start).await {
        return end;
    }
    receive(&mut wire, &mut out, got).await.unwrap_or_else(|end| end)
}

async fn receive(wire: &mut Wire, out: &mut Out, got: &RefCell<Got>) -> Result<End, End> {
    let mut buffer = Vec::new();
    loop {
        while let Some((kind, flags, stream, payload)) = next(&mut buffer) {
            match (kind, stream) {
                (SETTINGS, 0) if flags & ACK == 0 => out.write(&frame(SETTINGS, ACK, 0, &[])).await?,
                (GOAWAY, 0) => return Ok(End::GoAway),
                (RST_STREAM, 1) => return Ok(End::Reset),
                (HEADERS, 1) if got.borrow().replies.is_empty() => {
                    got.borrow_mut().replies.push(reply(&payload));
                }
                (DATA, 1) => {
                    if let Some(reply) = got.borrow_mut().replies.last_mut() {
                        reply.body.bytes.extend(&payload);
                    }
                }
                _ => {}
            }
            if stream == 1 && matches!(kind, HEADERS | DATA) && flags & END_STREAM != 0 {
                if let Some(reply) = got.borrow_mut().replies.last_mut() {
                    reply.body.complete = true;
                }
                return Ok(End::Open);
            }
        }
        wire.fill().await?;
        buffer.append(&mut wire.take());
    }
}

/// The frame that `buffer` begins with.
fn next(buffer: &mut Vec<u8>) -> Option<(u8, u8, u32, Vec<u8>)> {
    let (head, _) = buffer.split_first_chunk::<9>()?;
    let [length @ .., kind, flags, _, _, _, _] = *head;
    let length = 9 + length.into_iter().fold(0, |sum, octet| sum << 8 | usize::from(octet));
    let stream =
        buffer.get(5..9).unwrap_or_default().iter().fold(0, |sum, octet| sum << 8 | u32::from(*octet));
    if buffer.len() < length {
        return None;
    }
    let payload = buffer.drain(..length).skip(9).collect();
    Some((kind, flags, stream & 0x7fff_ffff, payload))
}

fn reply(block: &[u8]) -> Reply {
    Reply {
        interim: Vec::new(),
        version: Version::Http2,
        status: status(block).unwrap_or_default(),
        fields: Fields::default(),
        body: Body { framing: Framing::Stream, ..Body::default() },
        faults: Vec::new(),
    }
}

/// The status that a block of fields begins with (RFC 7541, appendix A and section 6).
fn status(block: &[u8]) -> Option<u16> {
    const INDEXED: [u16; 7] = [200, 204, 206, 304, 400, 404, 500];
    let mut block = block;
    // A block may begin with changes of the table's size.
    while let Some((0x20..=0x3f, rest)) = block.split_first() {
        block = rest;
    }
    match block {
        [first @ 0x88..=0x8e, ..] => INDEXED.get(usize::from(first - 0x88)).copied(),
        // Named by index 8, the value literal, in digits or in Huffman's code.
        [0x08 | 0x18 | 0x48, length, rest @ ..] => {
            let value = rest.get(..usize::from(length & 0x7f))?;
            if length & 0x80 == 0 { std::str::from_utf8(value).ok()?.parse().ok() } else { digits(value) }
        }
        _ => None,
    }
}

/// Three digits in Huffman's code (RFC 7541, appendix B): 0 to 2 have five bits, the others six.
fn digits(value: &[u8]) -> Option<u16> {
    let bits: String = value.iter().map(|byte| format!("{byte:08b}")).collect::<Vec<_>>().concat();
    let (mut number, mut at) = (0, 0);
    for _ in 0..3 {
        let five = u16::from_str_radix(bits.get(at..at + 5)?, 2).ok()?;
        let digit = if five <= 2 {
            five
        } else {
            u16::from_str_radix(bits.get(at..at + 6)?, 2).ok()?.checked_sub(0x16)?
        };
        at += if five <= 2 { 5 } else { 6 };
        number = number * 10 + digit;
    }
    Some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statuses_are_read_in_every_coding() {
        assert_eq!(status(&[0x8c]), Some(400));
        assert_eq!(status(&[0x20, 0x48, 3, b'5', b'0', b'3']), Some(503));
        // "502" and "431" by Huffman's code: 011011 00000 00010, 011010 011001 00001.
        assert_eq!(status(&[0x08, 0x82, 0b0110_1100, 0b0000_0010]), Some(502));
        assert_eq!(status(&[0x08, 0x83, 0b0110_1001, 0b1001_0000, 0b1111_1111]), Some(431));
        assert_eq!(status(&[0x41]), None);
    }

    #[test]
    fn frames_come_apart_as_they_were_put_together() {
        let mut bytes = frame(DATA, END_STREAM, 1, b"abc");
        bytes.extend(frame(GOAWAY, 0, 0, b""));
        assert_eq!(next(&mut bytes), Some((DATA, END_STREAM, 1, b"abc".to_vec())));
        assert_eq!(next(&mut bytes), Some((GOAWAY, 0, 0, Vec::new())));
        assert_eq!(next(&mut bytes), None);
    }
}
