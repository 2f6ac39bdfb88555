//! One exchange: what the client sends, and what the server answers.

use super::answer::Answer;
use super::message::{Fields, Version};

/// A port of the recording server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Backend {
    /// Speaks HTTP/1, and has the routes.
    One,
    /// Speaks HTTP/1; gets only what routes send there.
    Two,
    /// Speaks HTTP/2, without routes.
    Three,
}

impl Backend {
    pub(crate) const ALL: [Self; 3] = [Self::One, Self::Two, Self::Three];

    /// Its name in configurations, and the host that requests for it name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::One => "one",
            Self::Two => "two",
            Self::Three => "three",
        }
    }
}

/// Which address of a proxy the client connects to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    /// One where each request's host says where it goes.
    Host,
    /// One that stands for one backend.
    Fixed,
}

/// A generated exchange.
#[derive(Clone, Debug)]
pub(crate) struct Case {
    pub(crate) number: u64,
    /// What is out of the ordinary in it.
    pub(crate) point: &'static str,
    pub(crate) door: Door,
    /// What is asked for.
    pub(crate) backend: Backend,
    pub(crate) sent: Sent,
    pub(crate) answer: Answer,
}

/// What the client does.
#[derive(Clone, Debug)]
pub(crate) enum Sent {
    Http1(Script),
    Http2(Request),
    /// Frames of HTTP/2, after the preface and SETTINGS, on stream 1.
    Frames(Vec<u8>),
}

/// Octets of HTTP/1 with what happens between them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Script {
    pub(crate) steps: Vec<Step>,
    /// For each answer that is to come, whether it is one to HEAD.
    pub(crate) heads: Vec<bool>,
    /// What is sent through a tunnel once it is agreed.
    pub(crate) tunnel: Vec<u8>,
    /// Whether another request is tried on the connection at the end.
    pub(crate) probes: bool,
}

/// A step of a script.
#[derive(Clone, Debug)]
pub(crate) enum Step {
    Send(Vec<u8>),
    /// Waits for a 100, for an answer, or for a while.
    Await,
    /// Lets what was sent arrive by itself.
    Pause,
    HalfClose,
}

/// How a body is to be framed in HTTP/1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Coding {
    None,
    Length,
    Chunked,
    /// By the end of the connection; of answers alone.
    Close,
}

/// A request that can be sent in every version.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) version: Version,
    pub(crate) method: String,
    /// Path and query, or another form of a target in HTTP/1.
    pub(crate) target: String,
    pub(crate) authority: String,
    /// Without Host and what frames the body.
    pub(crate) fields: Fields,
    pub(crate) body: Vec<u8>,
    pub(crate) coding: Coding,
    pub(crate) trailers: Fields,
    /// Lengths of the pieces that the body is cut into, over and over.
    pub(crate) pieces: Vec<usize>,
    /// Whether the body waits for a 100.
    pub(crate) expects: bool,
}

impl Request {
    /// Whether its answer has no body.
    pub(crate) fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    /// The body in its pieces.
    pub(crate) fn cut(&self) -> Vec<&[u8]> {
        cut(&self.body, &self.pieces)
    }

    /// As HTTP/1, taken apart.
    pub(crate) fn raw(&self) -> Raw {
        let mut lines = vec![format!("Host: {}", self.authority).into_bytes()];
        let line = |name: &[u8], value: &[u8]| [name, b": ", value].concat();
        lines.extend(self.fields.0.iter().map(|(name, value)| line(name, value)));
        let mut body = Vec::new();
        match self.coding {
            Coding::None | Coding::Close => {}
            Coding::Length => {
                lines.push(format!("Content-Length: {}", self.body.len()).into_bytes());
                body.clone_from(&self.body);
            }
            Coding::Chunked => {
                lines.push(b"Transfer-Encoding: chunked".to_vec());
                body = chunked(&self.cut(), &self.trailers);
            }
        }
        let version: &[u8] = if self.version == Version::Http10 { b"HTTP/1.0" } else { b"HTTP/1.1" };
        let line = [self.method.as_bytes(), b" ", self.target.as_bytes(), b" ", version].concat();
        Raw {
            line,
            lines,
            body,
            newline: "\r\n",
            ends: false,
            expects: self.expects,
            is_head: self.is_head(),
        }
    }
}

/// Pieces of `body`, of these lengths, over and over.
pub(crate) fn cut<'a>(body: &'a [u8], lengths: &[usize]) -> Vec<&'a [u8]> {
    let mut pieces = Vec::new();
    let mut rest = body;
    for length in lengths.iter().cycle() {
        if rest.is_empty() {
            break;
        }
        let (piece, after) = rest.split_at((*length).clamp(1, rest.len()));
        pieces.push(piece);
        rest = after;
    }
    pieces
}

/// Pieces as chunks (RFC 9112 section 7.1).
pub(crate) fn chunked(pieces: &[&[u8]], trailers: &Fields) -> Vec<u8> {
    let mut body = Vec::new();
    for piece in pieces {
        body.extend(format!("{:x}\r\n", piece.len()).bytes());
        body.extend(*piece);
        body.extend(b"\r\n");
    }
    body.extend(b"0\r\n");
    for (name, value) in &trailers.0 {
        body.extend([name.as_slice(), b": ", value, b"\r\n"].concat());
    }
    body.extend(b"\r\n");
    body
}

/// A request of HTTP/1 in pieces that can be made wrong one by one.
#[derive(Clone, Debug)]
pub(crate) struct Raw {
    pub(crate) line: Vec<u8>,
    /// Lines of fields.
    pub(crate) lines: Vec<Vec<u8>>,
    /// All that comes after the empty line.
    pub(crate) body: Vec<u8>,
    pub(crate) newline: &'static str,
    /// Whether nothing more is sent: the client closes its side.
    pub(crate) ends: bool,
    pub(crate) expects: bool,
    pub(crate) is_head: bool,
}

impl Raw {
    /// Replaces the line of a field, or adds it.
    pub(crate) fn set(&mut self, name: &str, line: impl AsRef<[u8]>) {
        self.remove(name);
        self.add(line);
    }

    pub(crate) fn remove(&mut self, name: &str) {
        let named = |line: &[u8]| {
            line.get(..name.len()).is_some_and(|own| own.eq_ignore_ascii_case(name.as_bytes()))
                && line.get(name.len()) == Some(&b':')
        };
        self.lines.retain(|line| !named(line));
    }

    pub(crate) fn add(&mut self, line: impl AsRef<[u8]>) {
        self.lines.push(line.as_ref().to_vec());
    }

    /// What frames the body, and the body itself.
    pub(crate) fn framed(&mut self, lines: &[&str], body: impl AsRef<[u8]>) {
        self.remove("content-length");
        self.remove("transfer-encoding");
        self.lines.extend(lines.iter().map(|line| line.as_bytes().to_vec()));
        self.body = body.as_ref().to_vec();
    }

    /// The head.
    pub(crate) fn head(&self) -> Vec<u8> {
        let newline = self.newline.as_bytes();
        let mut bytes = [self.line.as_slice(), newline].concat();
        for line in &self.lines {
            bytes.extend(line);
            bytes.extend(newline);
        }
        bytes.extend(newline);
        bytes
    }

    /// What a client does with it; what it sends at once is cut after `cuts` octets.
    pub(crate) fn script(self, cuts: &[usize]) -> Script {
        let mut bytes = self.head();
        let mut steps = Vec::new();
        if self.expects {
            steps.extend([Step::Send(std::mem::take(&mut bytes)), Step::Await]);
        }
        bytes.extend(&self.body);
        for (index, piece) in pieces(&bytes, cuts).into_iter().enumerate() {
            if index > 0 {
                steps.push(Step::Pause);
            }
            steps.push(Step::Send(piece));
        }
        if self.ends {
            steps.push(Step::HalfClose);
        }
        Script { steps, heads: vec![self.is_head], tunnel: Vec::new(), probes: !self.ends }
    }
}

fn pieces(bytes: &[u8], cuts: &[usize]) -> Vec<Vec<u8>> {
    let mut rest = bytes;
    let mut pieces = Vec::new();
    for cut in cuts {
        let (piece, after) = rest.split_at((*cut).min(rest.len()));
        if !piece.is_empty() {
            pieces.push(piece.to_vec());
        }
        rest = after;
    }
    if !rest.is_empty() {
        pieces.push(rest.to_vec());
    }
    pieces
}
