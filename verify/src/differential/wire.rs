//! HTTP/1 off a socket, read without judging: what is wrong is noted and taken as meant as far as it can be.

use std::cell::RefCell;

use rustix::net::sockopt::set_socket_linger;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::message::{Body, End, Fields, Framing};

/// Most that is kept of one head or body: several times what is ever sent.
const MOST: usize = 4 << 20;

/// The reading side of a connection, with what was read ahead of it.
pub(crate) struct Wire {
    stream: OwnedReadHalf,
    buffer: Vec<u8>,
}

/// The writing side.
pub(crate) struct Out(OwnedWriteHalf);

/// A head taken apart.
#[derive(Debug, Default)]
pub(crate) struct Head {
    /// Request line or status line.
    pub(crate) line: Vec<u8>,
    pub(crate) fields: Fields,
    pub(crate) faults: Vec<&'static str>,
}

/// Both sides of a connection.
pub(crate) fn sides(stream: TcpStream) -> (Wire, Out) {
    let _delays_at_most = stream.set_nodelay(true);
    let (reader, writer) = stream.into_split();
    (Wire { stream: reader, buffer: Vec::new() }, Out(writer))
}

impl Out {
    pub(crate) async fn write(&mut self, bytes: &[u8]) -> Result<(), End> {
        self.0.write_all(bytes).await.map_err(|error| end_of(&error))
    }

    /// Ends the sending side.
    pub(crate) async fn half_close(&mut self) {
        let _gone_already = self.0.shutdown().await;
    }

    /// Makes the end of the connection, once both sides are dropped, a reset.
    pub(crate) fn reset_at_end(&self) {
        let socket: &TcpStream = self.0.as_ref();
        let _closes_at_least = set_socket_linger(socket, Some(std::time::Duration::ZERO));
    }

    pub(crate) fn into_inner(self) -> OwnedWriteHalf {
        self.0
    }
}

impl Wire {
    /// Whether anything was read that nobody has taken.
    pub(crate) fn has_more(&self) -> bool {
        !self.buffer.is_empty()
    }

    /// What was read that nobody has taken.
    pub(crate) fn take(&mut self) -> Vec<u8> {
        std::mem::take(&mut self.buffer)
    }

    /// Reads some more.
    pub(crate) async fn fill(&mut self) -> Result<(), End> {
        if self.buffer.len() > MOST {
            return Err(End::Closed);
        }
        match self.stream.read_buf(&mut self.buffer).await {
            Ok(0) => Err(End::Closed),
            Ok(_) => Ok(()),
            Err(error) => Err(end_of(&error)),
        }
    }

    /// Whether the connection begins with the preface of HTTP/2; takes nothing.
    pub(crate) async fn is_http2(&mut self) -> Result<bool, End> {
        const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
        loop {
            let common = self.buffer.iter().zip(PREFACE).take_while(|(own, preface)| own == preface).count();
            if common == PREFACE.len() || common < self.buffer.len() {
                return Ok(common == PREFACE.len());
            }
            self.fill().await?;
        }
    }

    /// What was read ahead, then the rest.
    pub(crate) fn into_reader(self) -> impl AsyncRead + Unpin {
        std::io::Cursor::new(self.buffer).chain(self.stream)
    }

    /// The next head, up to and with its empty line.
    pub(crate) async fn head(&mut self) -> Result<Head, End> {
        loop {
            if let Some(length) = head_length(&self.buffer) {
                let bytes: Vec<u8> = self.buffer.drain(..length).collect();
                return Ok(Head::of(&bytes));
            }
            self.fill().await?;
        }
    }

    /// Reads a body into `body`, which says how it is framed; faults are given back.
    pub(crate) async fn body(&mut self, body: &RefCell<Body>) -> Result<Vec<&'static str>, End> {
        let framing = body.borrow().framing;
        let mut faults = Vec::new();
        match framing {
            Framing::None | Framing::Stream => {}
            Framing::Length(length) => self.exactly(usize::try_from(length).unwrap_or(MOST), body).await?,
            Framing::Chunked => self.chunks(body, &mut faults).await?,
            Framing::Close => loop {
                body.borrow_mut().bytes.append(&mut self.buffer);
                match self.fill().await {
                    Ok(()) => {}
                    Err(End::Closed) => break,
                    Err(end) => return Err(end),
                }
            },
        }
        body.borrow_mut().complete = true;
        Ok(faults)
    }

    async fn exactly(&mut self, mut length: usize, body: &RefCell<Body>) -> Result<(), End> {
        while length > 0 {
            if self.buffer.is_empty() {
                self.fill().await?;
            }
            let taken = self.buffer.len().min(length);
            body.borrow_mut().bytes.extend(self.buffer.drain(..taken));
            length -= taken;
        }
        Ok(())
    }

    async fn chunks(&mut self, body: &RefCell<Body>, faults: &mut Vec<&'static str>) -> Result<(), End> {
        loop {
            let line = self.line(faults).await?;
            let digits = line.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
            let size =
                std::str::from_utf8(digits).ok().and_then(|digits| usize::from_str_radix(digits, 16).ok());
            let Some(size) = size.filter(|size| *size <= MOST) else {
                faults.push("a chunk's size is none");
                return Err(End::Closed);
            };
            if size == 0 {
                break;
            }
            self.exactly(size, body).await?;
            if !self.line(faults).await?.is_empty() {
                faults.push("a chunk is longer than it says");
                return Err(End::Closed);
            }
        }
        loop {
            let line = self.line(faults).await?;
            if line.is_empty() {
                return Ok(());
            }
            if let Some(field) = field(&line, faults) {
                body.borrow_mut().trailers.0.push(field);
            }
        }
    }

    async fn line(&mut self, faults: &mut Vec<&'static str>) -> Result<Vec<u8>, End> {
        loop {
            if let Some(end) = self.buffer.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.buffer.drain(..=end).collect();
                line.pop();
                if line.pop_if(|byte| *byte == b'\r').is_none() {
                    faults.push("a line ends with LF alone");
                }
                return Ok(line);
            }
            self.fill().await?;
        }
    }
}

fn end_of(error: &std::io::Error) -> End {
    if error.kind() == std::io::ErrorKind::ConnectionReset { End::Reset } else { End::Closed }
}

/// Length of the head that `bytes` begin with, if its end is there.
fn head_length(bytes: &[u8]) -> Option<usize> {
    let begin = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n'))?;
    let mut empty = true;
    for (index, byte) in bytes.iter().enumerate().skip(begin) {
        match byte {
            b'\n' if empty => return Some(index + 1),
            b'\n' => empty = true,
            b'\r' => {}
            _ => empty = false,
        }
    }
    None
}

impl Head {
    fn of(bytes: &[u8]) -> Self {
        let mut head = Self::default();
        let begin = bytes.iter().position(|byte| !matches!(byte, b'\r' | b'\n')).unwrap_or_default();
        if begin > 0 {
            head.faults.push("an empty line before the message");
        }
        let rest = bytes.get(begin..).unwrap_or_default();
        let mut lines = rest.split_inclusive(|byte| *byte == b'\n').map(|line| {
            let line = line.strip_suffix(b"\n").unwrap_or(line);
            line.strip_suffix(b"\r").map_or((line, false), |line| (line, true))
        });
        let mut bare = false;
        if let Some((line, returned)) = lines.next() {
            head.line = line.to_vec();
            bare |= !returned;
        }
        for (line, returned) in lines {
            bare |= !returned;
            if line.is_empty() {
                break;
            }
            if matches!(line.first(), Some(b' ' | b'\t')) {
                head.faults.push("a field is folded");
                if let Some((_, value)) = head.fields.0.last_mut() {
                    value.extend(line);
                }
                continue;
            }
            head.fields.0.extend(field(line, &mut head.faults));
        }
        if bare {
            head.faults.push("a line ends with LF alone");
        }
        head.note_framing();
        head
    }

    fn note_framing(&mut self) {
        let (lengths, codings) =
            (self.fields.all("content-length").count(), self.fields.all("transfer-encoding").count());
        if lengths > 0 && codings > 0 {
            self.faults.push("content-length beside transfer-encoding");
        }
        if lengths > 1 {
            self.faults.push("content-length more than once");
        }
        if codings > 1 {
            self.faults.push("transfer-encoding more than once");
        }
    }

    /// How the fields frame a body, the coding first; `otherwise` where they say nothing.
    pub(crate) fn framing(&self, otherwise: Framing) -> Framing {
        if self.fields.get("transfer-encoding").is_some() {
            return if self.fields.names("transfer-encoding", "chunked") {
                Framing::Chunked
            } else {
                otherwise
            };
        }
        let length = self
            .fields
            .get("content-length")
            .and_then(|value| std::str::from_utf8(value).ok()?.trim().parse().ok());
        length.map_or(otherwise, Framing::Length)
    }
}

/// A field of a line.
fn field(line: &[u8], faults: &mut Vec<&'static str>) -> Option<(Vec<u8>, Vec<u8>)> {
    let Some(colon) = line.iter().position(|byte| *byte == b':') else {
        faults.push("a line without a colon");
        return None;
    };
    let (name, value) = line.split_at(colon);
    let value = value.get(1..).unwrap_or_default().trim_ascii();
    let token = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
    if name.is_empty() || !name.iter().all(token) {
        faults.push("a field's name is no token");
    }
    if value.iter().any(|byte| matches!(byte, 0 | b'\r' | b'\n')) {
        faults.push("a field's value has CR, LF or NUL");
    }
    Some((name.to_vec(), value.to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn heads_are_read_as_they_stand_and_what_is_wrong_is_noted() {
        let bytes = b"\r\nGET /a HTTP/1.1\r\nHost: a\nX y: 1\r\n folded\r\n\r\nrest";
        let length = head_length(bytes).unwrap();
        assert_eq!(&bytes[length..], b"rest");
        let head = Head::of(&bytes[..length]);
        assert_eq!(head.line, b"GET /a HTTP/1.1");
        assert_eq!(head.fields.get("host"), Some(&b"a"[..]));
        assert_eq!(head.fields.get("x y"), Some(&b"1 folded"[..]));
        assert_eq!(head.faults.len(), 4, "{:?}", head.faults);
    }

    #[test]
    fn a_head_without_its_end_is_waited_for() {
        assert_eq!(head_length(b"\r\n"), None);
        assert_eq!(head_length(b"GET / HTTP/1.1\r\n"), None);
        assert_eq!(head_length(b"GET / HTTP/1.1\r\n\r\n"), Some(18));
    }
}
