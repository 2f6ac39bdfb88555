//! What comes back for a case.

use std::fmt;

use super::case::{Expected, Version};
use crate::http2::{ACK, DATA, END_STREAM, GOAWAY, HEADERS, PING, RST_STREAM, Received};

/// What came back.
#[derive(Debug, Default)]
pub struct Seen {
    /// Status of the final answer to the first request.
    pub status: Option<u16>,
    /// Interim answers before it.
    pub interim: u32,
    /// Octets of its content.
    pub content: usize,
    /// It came to its end.
    pub whole: bool,
    /// Code of the first `RST_STREAM` that says that something is wrong.
    pub reset: Option<u32>,
    /// The same of GOAWAY.
    pub gone: Option<u32>,
    /// The proxy has closed the connection.
    pub closed: bool,
    /// Octets of a PING that was acknowledged.
    pub pong: Option<Vec<u8>>,
}

impl Seen {
    /// Whether nothing that is still to come changes the verdict.
    pub fn settles(&self, expected: Expected) -> bool {
        match expected {
            Expected::Connection => self.closed,
            Expected::Acknowledged => self.closed || self.pong.is_some(),
            // What is wrong may come behind a request that is answered.
            Expected::Refused => self.ended() || self.is_refused(),
            _ => self.closed || self.reset.is_some() || self.gone.is_some() || self.whole,
        }
    }
}

impl Seen {
    pub(super) fn ended(&self) -> bool {
        self.closed || self.reset.is_some() || self.gone.is_some()
    }

    pub(super) fn is_refused(&self) -> bool {
        self.status.is_some_and(|status| (400..500).contains(&status) || status == 501)
    }
}

impl fmt::Display for Seen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "status {:?}, RST_STREAM {:?}, GOAWAY {:?}, closed: {}",
            self.status, self.reset, self.gone, self.closed
        )
    }
}

impl Seen {
    /// Takes in what has come; `bytes` keeps what is to be given again, with more.
    pub fn read(&mut self, version: Version, bytes: &mut Vec<u8>) {
        match version {
            Version::Http1 => self.http1(bytes),
            Version::Http2 => Received::parse(bytes).iter().for_each(|frame| self.frame(frame)),
        }
    }

    /// One more frame.
    fn frame(&mut self, frame: &Received) {
        match frame.kind {
            HEADERS if frame.stream == 1 => {
                match frame.status() {
                    Some(100..200) => self.interim += 1,
                    status => self.status = self.status.or(status),
                }
                self.whole |= frame.flags & END_STREAM != 0;
            }
            DATA if frame.stream == 1 => {
                self.content += frame.payload.len();
                self.whole |= frame.flags & END_STREAM != 0;
            }
            RST_STREAM if frame.code() != 0 => self.reset = self.reset.or(Some(frame.code())),
            GOAWAY if frame.code() != 0 => self.gone = self.gone.or(Some(frame.code())),
            PING if frame.flags & ACK != 0 => self.pong = Some(frame.payload.clone()),
            _ => {}
        }
    }

    /// All that came on a connection of HTTP/1.
    fn http1(&mut self, bytes: &[u8]) {
        let text = String::from_utf8_lossy(bytes);
        self.interim = 0;
        let mut heads = text.split("\r\n\r\n");
        for head in heads.by_ref() {
            let Some(status) = head.strip_prefix("HTTP/1.1 ").or_else(|| head.strip_prefix("HTTP/1.0 "))
            else {
                return;
            };
            match status.get(..3).and_then(|status| status.parse().ok()) {
                Some(100..200) => self.interim += 1,
                status => {
                    self.status = status;
                    let length = head.lines().find_map(|line| {
                        line.to_ascii_lowercase().strip_prefix("content-length:")?.trim().parse().ok()
                    });
                    let content = heads.next().unwrap_or_default();
                    self.content = content.len();
                    let ends = length.is_some_and(|length: usize| content.len() >= length)
                        || content.ends_with("0\r\n");
                    self.whole = ends && text.contains("\r\n\r\n");
                    return;
                }
            }
        }
    }
}
