//! What a client is told that has broken its connection, before that is closed.

use std::time::Duration;

use bytes::{BufMut as _, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use weft_mesh::violation::Violation;

use crate::http::local_reply::X_WEFT_ERROR;

/// Time for a client to take the last words, and to close its side after them.
const LINGER: Duration = Duration::from_secs(1);
/// Octets that are still read from it and thrown away: a socket that is closed with something unread in it throws away
/// what its peer has not received yet (RFC 9112 section 9.6).
const UNREAD: usize = 256 * 1024;

/// A connection that its client has broken.
#[derive(Debug)]
pub(in crate::http) struct Ended<S> {
    pub(in crate::http) stream: S,
    pub(in crate::http) speech: LocalReply,
}

/// In which language the client is told.
#[derive(Debug, Clone, Copy)]
pub(in crate::http) enum LocalReply {
    /// A response.
    Http1(Violation),
    /// A GOAWAY, with the last stream that was taken.
    Http2(Violation, u32),
}

impl LocalReply {
    pub(in crate::http) fn violation(self) -> Violation {
        match self {
            Self::Http1(violation) | Self::Http2(violation, _) => violation,
        }
    }

    fn words(self) -> BytesMut {
        let mut words = BytesMut::new();
        match self {
            Self::Http1(violation) => {
                let reason = violation.reason();
                let text = format!("{}: {violation}\n", reason.label());
                let status = reason.http_status();
                let phrase = status.canonical_reason().unwrap_or_default();
                let head = format!(
                    "HTTP/1.1 {} {phrase}\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: {}\r\n{X_WEFT_ERROR}: {}\r\nconnection: close\r\n\r\n",
                    status.as_u16(),
                    text.len(),
                    reason.label()
                );
                words.put_slice(head.as_bytes());
                words.put_slice(text.as_bytes());
            }
            Self::Http2(violation, last) => {
                let debug = violation.label().as_bytes();
                words.put_uint(8 + debug.len() as u64, 3);
                // GOAWAY without flags, on no stream (RFC 9113 section 6.8).
                words.put_slice(&[7, 0, 0, 0, 0, 0]);
                words.put_u32(last);
                words.put_u32(code(violation).into());
                words.put_slice(debug);
            }
        }
        words
    }
}

/// What a GOAWAY says (RFC 9113 section 7): that a rule was broken, or that there was too much of what is allowed.
fn code(violation: Violation) -> h2::Reason {
    match violation {
        Violation::Http2Connection | Violation::Trailers => h2::Reason::PROTOCOL_ERROR,
        _ => h2::Reason::ENHANCE_YOUR_CALM,
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Ended<S> {
    /// Says what there is to say and closes, with a bound on time and octets.
    pub(in crate::http) async fn close(mut self) {
        let closing = async {
            self.stream.write_all(&self.speech.words()).await?;
            self.stream.shutdown().await?;
            let mut unread = (&mut self.stream).take(UNREAD as u64);
            tokio::io::copy(&mut unread, &mut tokio::io::sink()).await
        };
        // A client that does not listen has nothing to hear.
        let _ = tokio::time::timeout(LINGER, closing).await;
    }
}
