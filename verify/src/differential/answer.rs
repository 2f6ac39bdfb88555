//! What the recording server answers.

use super::case::{Coding, chunked, cut};
use super::message::Fields;

/// An answer.
#[derive(Clone, Debug)]
pub(crate) struct Answer {
    /// Statuses and fields of 1xx before it.
    pub(crate) interim: Vec<(u16, Fields)>,
    pub(crate) version: &'static str,
    pub(crate) status: u16,
    pub(crate) reason: String,
    /// Without what frames the body.
    pub(crate) fields: Fields,
    pub(crate) body: Vec<u8>,
    pub(crate) coding: Coding,
    pub(crate) trailers: Fields,
    pub(crate) pieces: Vec<usize>,
    /// Whether there is a pause between the pieces.
    pub(crate) slow: bool,
    /// Whether it comes before the request's body was read.
    pub(crate) early: bool,
    /// Whether the connection is closed after it.
    pub(crate) closes: bool,
    pub(crate) fault: Fault,
    /// Octets to send instead, in HTTP/1.
    pub(crate) raw: Option<Vec<u8>>,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Nothing,
    /// The connection is closed after so many octets of the body; of HTTP/2, the stream is reset.
    CloseAfter(usize),
    /// The connection, or the stream, is reset then.
    ResetAfter(usize),
    /// The connection is closed without an answer.
    CloseBefore,
}

impl Default for Answer {
    fn default() -> Self {
        Self {
            interim: Vec::new(),
            version: "HTTP/1.1",
            status: 200,
            reason: "OK".to_owned(),
            fields: Fields::default(),
            body: Vec::new(),
            coding: Coding::Length,
            trailers: Fields::default(),
            pieces: vec![usize::MAX],
            slow: false,
            early: false,
            closes: false,
            fault: Fault::Nothing,
            raw: None,
        }
    }
}

impl Answer {
    /// Whether a body can follow (RFC 9110 section 6.4.1).
    pub(crate) fn may_have_body(&self, to_head: bool) -> bool {
        !to_head && !matches!(self.status, 100..=199 | 204 | 304)
    }

    /// The head in HTTP/1, the 1xx before it included.
    pub(crate) fn head(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (status, fields) in &self.interim {
            bytes.extend(format!("HTTP/1.1 {status} Interim\r\n").bytes());
            write_fields(&mut bytes, fields);
            bytes.extend(b"\r\n");
        }
        bytes.extend(format!("{} {} {}\r\n", self.version, self.status, self.reason).bytes());
        write_fields(&mut bytes, &self.fields);
        match self.coding {
            Coding::Length if self.status != 204 && self.status >= 200 => {
                bytes.extend(format!("Content-Length: {}\r\n", self.body.len()).bytes());
            }
            Coding::Chunked => bytes.extend(b"Transfer-Encoding: chunked\r\n"),
            _ => {}
        }
        if self.closes {
            bytes.extend(b"Connection: close\r\n");
        }
        bytes.extend(b"\r\n");
        bytes
    }

    /// The body in HTTP/1, as it is to be written piece by piece, as far as the fault lets it come.
    pub(crate) fn body(&self) -> Vec<Vec<u8>> {
        let pieces = cut(&self.body, &self.pieces);
        let mut written: Vec<Vec<u8>> = match self.coding {
            Coding::None => Vec::new(),
            Coding::Length | Coding::Close => pieces.iter().map(|piece| piece.to_vec()).collect(),
            Coding::Chunked => {
                let mut chunks: Vec<Vec<u8>> = pieces.iter().map(|piece| chunk(piece)).collect();
                chunks.push(chunked(&[], &self.trailers));
                chunks
            }
        };
        if let Fault::CloseAfter(most) | Fault::ResetAfter(most) = self.fault {
            let mut left = most;
            for piece in &mut written {
                piece.truncate(left);
                left -= piece.len();
            }
        }
        written.retain(|piece| !piece.is_empty());
        written
    }
}

fn chunk(piece: &[u8]) -> Vec<u8> {
    [format!("{:X}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat()
}

fn write_fields(bytes: &mut Vec<u8>, fields: &Fields) {
    for (name, value) in &fields.0 {
        bytes.extend([name.as_slice(), b": ", value, b"\r\n"].concat());
    }
}
