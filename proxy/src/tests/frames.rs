//! A client of HTTP/2 that sends whatever frames it likes (RFC 9113 section 4.1), and fields as literals (RFC 7541 section
//! 6.2.2).

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

pub(super) const DATA: u8 = 0;
pub(super) const HEADERS: u8 = 1;
pub(super) const PRIORITY: u8 = 2;
pub(super) const RST_STREAM: u8 = 3;
pub(super) const SETTINGS: u8 = 4;
pub(super) const PUSH_PROMISE: u8 = 5;
pub(super) const PING: u8 = 6;
pub(super) const GOAWAY: u8 = 7;
pub(super) const WINDOW_UPDATE: u8 = 8;
pub(super) const CONTINUATION: u8 = 9;

pub(super) const ACK: u8 = 1;
pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const PADDED: u8 = 8;
pub(super) const WITH_PRIORITY: u8 = 0x20;
/// Flags of a request that is a head alone.
pub(super) const WHOLE: u8 = END_STREAM | END_HEADERS;

/// One frame.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A block of fields.
pub(super) fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
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

pub(super) const POST: [(&str, &str); 4] =
    [(":method", "POST"), (":scheme", "http"), (":path", "/"), (":authority", "reviews:9080")];
pub(super) const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "http"), (":path", "/"), (":authority", "reviews:9080")];

/// A head with these fields beside those of a POST.
pub(super) fn post(stream: u32, flags: u8, more: &[(&str, &str)]) -> Vec<u8> {
    frame(HEADERS, flags | END_HEADERS, stream, &fields(&[&POST[..], more].concat()))
}

/// A whole request.
pub(super) fn get(stream: u32) -> Vec<u8> {
    frame(HEADERS, WHOLE, stream, &fields(&GET))
}

pub(super) fn settings(values: &[(u16, u32)]) -> Vec<u8> {
    let mut payload = Vec::new();
    for (id, value) in values {
        payload.extend(id.to_be_bytes());
        payload.extend(value.to_be_bytes());
    }
    frame(SETTINGS, 0, 0, &payload)
}

/// A frame that came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Received {
    pub(super) kind: u8,
    pub(super) flags: u8,
    pub(super) stream: u32,
    pub(super) payload: Vec<u8>,
}

impl Received {
    /// The code of a `RST_STREAM` or GOAWAY.
    pub(super) fn code(&self) -> u32 {
        let at = if self.kind == GOAWAY { 4 } else { 0 };
        u32::from_be_bytes(self.payload[at..at + 4].try_into().unwrap())
    }
}

/// The connection of such a client.
pub(super) struct Client {
    stream: DuplexStream,
    bytes: Vec<u8>,
    /// Everything that has come.
    pub(super) received: Vec<Received>,
    pub(super) closed: bool,
}

impl Client {
    /// One that has said its preface and SETTINGS.
    pub(super) async fn new(mut stream: DuplexStream, values: &[(u16, u32)]) -> Self {
        stream.write_all(&[PREFACE, &settings(values)].concat()).await.unwrap();
        Self { stream, bytes: Vec::new(), received: Vec::new(), closed: false }
    }

    /// Sends these frames while it reads what comes, then reads until the other side closes or nothing comes for a second.
    pub(super) async fn say(&mut self, bytes: &[u8]) {
        let (mut read, mut write) = tokio::io::split(&mut self.stream);
        let reading = async {
            loop {
                let some = tokio::time::timeout(Duration::from_secs(1), read.read_buf(&mut self.bytes)).await;
                match some {
                    Ok(Ok(1..)) => {}
                    Ok(_) => return true,
                    Err(_) => return false,
                }
            }
        };
        let (closed, _) = tokio::join!(reading, write.write_all(bytes));
        self.closed |= closed;
        self.parse();
    }

    fn parse(&mut self) {
        let mut at = 0;
        while let Some(head) = self.bytes.get(at..at + 9) {
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize;
            let Some(payload) = self.bytes.get(at + 9..at + 9 + length) else { break };
            self.received.push(Received {
                kind: head[3],
                flags: head[4],
                stream: u32::from_be_bytes(head[5..9].try_into().unwrap()),
                payload: payload.to_vec(),
            });
            at += 9 + length;
        }
        self.bytes.drain(..at);
    }

    /// The first frame of a kind on a stream.
    pub(super) fn got(&self, kind: u8, stream: u32) -> Option<&Received> {
        self.received.iter().find(|frame| frame.kind == kind && frame.stream == stream)
    }

    /// The status of the answer on a stream, where it is one that stands in the static table, or 431.
    pub(super) fn status(&self, stream: u32) -> Option<u16> {
        let head = self.got(HEADERS, stream)?;
        // An update of the table's size may come first (RFC 7541 section 6.3).
        let block: Vec<u8> = head.payload.iter().copied().skip_while(|byte| byte & 0xe0 == 0x20).collect();
        Some(match block[..] {
            [0x88, ..] => 200,
            [0x8c, ..] => 400,
            [0x8d, ..] => 404,
            // In the code of RFC 7541, appendix B.
            [0x48, 0x83, 0x69, 0x90, 0xff, ..] => 431,
            _ => panic!("a status that this client can't read: {block:x?}"),
        })
    }
}
