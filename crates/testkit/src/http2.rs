//! Frames of HTTP/2, right and wrong, octet by octet (RFC 9113 section 4.1), with fields as literals (RFC 7541 section 6.2.2).

/// What a client says first (RFC 9113 section 3.4).
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A type of frame.
pub const DATA: u8 = 0;
/// A type of frame.
pub const HEADERS: u8 = 1;
/// A type of frame.
pub const PRIORITY: u8 = 2;
/// A type of frame.
pub const RST_STREAM: u8 = 3;
/// A type of frame.
pub const SETTINGS: u8 = 4;
/// A type of frame.
pub const PUSH_PROMISE: u8 = 5;
/// A type of frame.
pub const PING: u8 = 6;
/// A type of frame.
pub const GOAWAY: u8 = 7;
/// A type of frame.
pub const WINDOW_UPDATE: u8 = 8;
/// A type of frame.
pub const CONTINUATION: u8 = 9;

/// A flag of SETTINGS and PING.
pub const ACK: u8 = 1;
/// A flag of DATA and HEADERS.
pub const END_STREAM: u8 = 1;
/// A flag of HEADERS and CONTINUATION.
pub const END_HEADERS: u8 = 4;
/// A flag of DATA and HEADERS.
pub const PADDED: u8 = 8;
/// A flag of HEADERS.
pub const WITH_PRIORITY: u8 = 0x20;
/// Flags of a request that is a head alone.
pub const WHOLE: u8 = END_STREAM | END_HEADERS;

/// One frame.
pub fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A block of fields.
pub fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            let mut length = text.len();
            if length < 127 {
                block.push(length as u8);
            } else {
                // RFC 7541 section 5.1.
                block.push(127);
                length -= 127;
                while length >= 128 {
                    block.push((length % 128 + 128) as u8);
                    length /= 128;
                }
                block.push(length as u8);
            }
            block.extend(text.as_bytes());
        }
    }
    block
}

/// A frame of SETTINGS.
pub fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (id, value) in values {
        payload.extend(id.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    frame(SETTINGS, 0, 0, &payload)
}

/// A frame that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// Its type.
    pub kind: u8,
    /// Its flags.
    pub flags: u8,
    /// Its stream.
    pub stream: u32,
    /// What it carries.
    pub payload: Vec<u8>,
}

impl Received {
    /// Takes the whole frames off these octets.
    pub fn parse(bytes: &mut Vec<u8>) -> Vec<Self> {
        let (mut frames, mut at) = (Vec::new(), 0);
        while let Some(head) = bytes.get(at..at + 9) {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let Some(payload) = bytes.get(at + 9..at + 9 + length) else { break };
            frames.push(Self {
                kind: head[3],
                flags: head[4],
                stream: u32::from_be_bytes([head[5], head[6], head[7], head[8]]),
                payload: payload.to_vec(),
            });
            at += 9 + length;
        }
        bytes.drain(..at);
        frames
    }

    /// The code of a `RST_STREAM` or GOAWAY.
    pub fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        self.payload
            .get(at..at + 4)
            .and_then(|code| code.try_into().ok())
            .map_or(u32::MAX, u32::from_be_bytes)
    }

    /// The status of an answer whose head this is, where it comes first in the block and stands in no dynamic table.
    pub fn status(&self) -> Option<u16> {
        // An update of the table's size may come first (RFC 7541 section 6.3).
        let block: Vec<u8> = self.payload.iter().copied().skip_while(|byte| byte & 0xe0 == 0x20).collect();
        match *block.as_slice() {
            [indexed @ 0x88..=0x8e, ..] => {
                [200, 204, 206, 304, 400, 404, 500].get(usize::from(indexed - 0x88)).copied()
            }
            [0x08 | 0x18 | 0x48, 3, a, b, c, ..] => std::str::from_utf8(&[a, b, c]).ok()?.parse().ok(),
            [0x08 | 0x18 | 0x48, 0x82 | 0x83, ..] => digits(block.get(2..)?),
            _ => None,
        }
    }
}

/// Three digits in the code of RFC 7541, appendix B: five bits for 0 to 2, six for the others.
fn digits(octets: &[u8]) -> Option<u16> {
    let bits =
        octets.iter().chain([&0xff; 3]).take(3).fold(0_u32, |bits, octet| bits << 8 | u32::from(*octet));
    let (mut left, mut number) = (24, 0);
    for _ in 0..3 {
        let (digit, taken) = match bits >> (left - 5) & 0x1f {
            digit @ 0..=2 => (digit, 5),
            _ => ((bits >> (left - 6) & 0x3f).checked_sub(0x16)?, 6),
        };
        number = number * 10 + u16::try_from(digit).ok()?;
        left -= taken;
    }
    (100..1000).contains(&number).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_read_in_each_form_that_it_may_have() {
        for (block, status) in [
            (&[0x88][..], 200),
            (&[0x20, 0x8c, 0xff], 400),
            (&[0x48, 0x83, 0x69, 0x90, 0xff], 431),
            (&[0x48, 0x82, 0x08, 0x19], 103),
            (b"\x08\x03502", 502),
        ] {
            let head = Received { kind: HEADERS, flags: END_HEADERS, stream: 1, payload: block.to_vec() };
            assert_eq!(head.status(), Some(status), "{block:x?}");
        }
    }

    #[test]
    fn frames_come_back_as_they_were_sent() {
        let mut bytes = [frame(PING, ACK, 0, b"12345678"), settings(&[(4, 5)])].concat();
        bytes.push(0);
        let frames = Received::parse(&mut bytes);
        assert_eq!(frames.iter().map(|frame| frame.kind).collect::<Vec<_>>(), [PING, SETTINGS]);
        assert_eq!((frames[0].payload.as_slice(), bytes.len()), (&b"12345678"[..], 1));
    }
}
