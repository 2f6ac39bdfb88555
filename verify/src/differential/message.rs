//! Messages as they were seen: names and values as they stood on the wire, nothing left out.

use std::cell::{Cell, RefCell};

use super::case::Backend;

/// Fields in the order and spelling that they came in.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Fields(pub(crate) Vec<(Vec<u8>, Vec<u8>)>);

impl Fields {
    /// Of text.
    pub(crate) fn of(fields: &[(&str, &str)]) -> Self {
        Self(
            fields
                .iter()
                .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()))
                .collect(),
        )
    }

    pub(crate) fn push(&mut self, name: &str, value: impl AsRef<[u8]>) {
        self.0.push((name.as_bytes().to_vec(), value.as_ref().to_vec()));
    }

    /// The values of a field, in their order.
    pub(crate) fn all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let named = move |(own, _): &&(Vec<u8>, Vec<u8>)| own.eq_ignore_ascii_case(name.as_bytes());
        self.0.iter().filter(named).map(|(_, value)| value.as_slice())
    }

    /// The first value of a field.
    pub(crate) fn get<'a>(&'a self, name: &'a str) -> Option<&'a [u8]> {
        self.all(name).next()
    }

    /// Whether a list field names a token.
    pub(crate) fn names(&self, field: &str, token: &str) -> bool {
        let mut tokens = self.all(field).flat_map(|value| value.split(|byte| *byte == b','));
        tokens.any(|own| own.trim_ascii().eq_ignore_ascii_case(token.as_bytes()))
    }

    /// Names in small letters, each once, in the order of their first occurrence.
    pub(crate) fn names_in_order(&self) -> Vec<Vec<u8>> {
        let mut names: Vec<Vec<u8>> = Vec::new();
        for (name, _) in &self.0 {
            let name = name.to_ascii_lowercase();
            if !names.contains(&name) {
                names.push(name);
            }
        }
        names
    }
}

/// How the end of a body is told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Framing {
    /// There is none.
    #[default]
    None,
    /// By `Content-Length`.
    Length(u64),
    /// In chunks.
    Chunked,
    /// By the end of the connection.
    Close,
    /// By HTTP/2.
    Stream,
}

impl Framing {
    /// The word for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Length(_) => "length",
            Self::Chunked => "chunked",
            Self::Close => "close",
            Self::Stream => "stream",
        }
    }
}

/// A body as far as it came.
#[derive(Clone, Debug, Default)]
pub(crate) struct Body {
    pub(crate) bytes: Vec<u8>,
    pub(crate) framing: Framing,
    pub(crate) trailers: Fields,
    /// Whether its end came.
    pub(crate) complete: bool,
}

/// A version of HTTP.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Version {
    Http10,
    Http11,
    Http2,
    /// What a line claimed that is none of these.
    Other,
}

impl Version {
    /// Of the text in a request line or status line.
    pub(crate) fn of(text: &[u8]) -> Self {
        match text {
            b"HTTP/1.0" => Self::Http10,
            b"HTTP/1.1" => Self::Http11,
            _ => Self::Other,
        }
    }

    /// The word for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Http10 => "1.0",
            Self::Http11 => "1.1",
            Self::Http2 => "2",
            Self::Other => "other",
        }
    }
}

/// A request that arrived at the recording server.
#[derive(Clone, Debug)]
pub(crate) struct Arrived {
    pub(crate) backend: Backend,
    pub(crate) version: Version,
    pub(crate) method: Vec<u8>,
    /// Request target: of HTTP/2 the path.
    pub(crate) target: Vec<u8>,
    /// `:authority`, or the first Host field.
    pub(crate) authority: Option<Vec<u8>>,
    pub(crate) fields: Fields,
    pub(crate) body: RefCell<Body>,
    /// What no well-formed message has.
    pub(crate) faults: RefCell<Vec<&'static str>>,
    /// Whether the server has done with it.
    pub(crate) finished: Cell<bool>,
}

/// An answer that the client got.
#[derive(Clone, Debug)]
pub(crate) struct Reply {
    /// Statuses of 1xx before it.
    pub(crate) interim: Vec<u16>,
    pub(crate) version: Version,
    pub(crate) status: u16,
    pub(crate) fields: Fields,
    pub(crate) body: Body,
    pub(crate) faults: Vec<&'static str>,
}

/// How it stands with the connection, or the stream, after the last answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum End {
    /// Open and quiet.
    #[default]
    Open,
    /// Another request was answered on it.
    Kept,
    /// Closed.
    Closed,
    /// Reset: the connection, or of HTTP/2 the stream.
    Reset,
    /// HTTP/2 was told to go away.
    GoAway,
    /// Nothing came for too long.
    Silent,
    /// There was nobody to connect to.
    Unreachable,
}

impl End {
    /// The word for it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Kept => "kept",
            Self::Closed => "closed",
            Self::Reset => "reset",
            Self::GoAway => "goaway",
            Self::Silent => "silent",
            Self::Unreachable => "unreachable",
        }
    }
}

/// All that the client got.
#[derive(Clone, Debug, Default)]
pub(crate) struct Got {
    pub(crate) replies: Vec<Reply>,
    pub(crate) end: End,
    /// What came back through a tunnel, once one was agreed.
    pub(crate) tunnel: Option<Vec<u8>>,
}
