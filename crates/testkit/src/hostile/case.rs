//! What is sent, and how it has to end.

use std::fmt;

use super::Seen;

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// HTTP/1.1, and 1.0.
    Http1,
    /// HTTP/2 with prior knowledge.
    Http2,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Http1 => "HTTP/1",
            Self::Http2 => "HTTP/2",
        })
    }
}

/// One case.
#[derive(Debug)]
pub struct Case {
    /// The section of RFC 9112 or RFC 9113, and what is sent.
    pub name: &'static str,
    /// All that the client sends.
    pub octets: Vec<u8>,
    /// How it has to end.
    pub expected: Expected,
}

/// How a case has to end. Whatever it is, nothing of what says `smuggled` reaches the application whole.
#[derive(Clone, Copy, Debug)]
pub enum Expected {
    /// The connection ends, with a GOAWAY or without one (RFC 9113 section 5.4.1).
    Connection,
    /// The stream or the connection ends, or the client is told by a status of 4xx or 501 (RFC 9113 sections 5.4.2 and
    /// 8.1.1; RFC 9112 section 3).
    Refused,
    /// The answer has this status.
    Status(u16),
    /// The answer has status 200, and the application has got this.
    Arrives(&'static str),
    /// The answer breaks off.
    BreaksOff,
    /// The answer has status 200 and no content.
    NoContent,
    /// An interim answer comes before one of status 200.
    Interim,
    /// Nothing of it reaches the application, whatever the answer.
    Contained,
    /// A PING is acknowledged with the same octets.
    Acknowledged,
}

impl Expected {
    /// Whether this is what had to come, or what is wrong.
    pub fn verdict(self, seen: &Seen, requests: &[Vec<u8>]) -> Result<(), String> {
        let arrived: Vec<_> =
            requests.iter().map(|request| String::from_utf8_lossy(request).into_owned()).collect();
        if let Some(request) = arrived.iter().find(|request| request.contains("smuggled")) {
            return Err(format!("the application got {request:?}"));
        }
        let broken = seen.reset.is_some() || seen.gone.is_some();
        let held = match self {
            Self::Connection => seen.closed,
            Self::Refused => seen.is_refused() || broken || (seen.closed && seen.status.is_none()),
            Self::Status(status) => seen.status == Some(status),
            Self::Arrives(text) => {
                seen.status == Some(200) && arrived.iter().any(|request| request.contains(text))
            }
            Self::BreaksOff => !seen.whole && seen.ended(),
            Self::NoContent => seen.status == Some(200) && seen.whole && seen.content == 0,
            Self::Interim => seen.status == Some(200) && seen.interim == 1,
            Self::Contained => seen.status.is_some() || seen.ended(),
            Self::Acknowledged => seen.pong.as_deref() == Some(b"12345678"),
        };
        if held { Ok(()) } else { Err(format!("it has to be {self:?}")) }
    }
}
