//! Whether there is a socket of the kernel right below a stream, with nothing in between that sees its bytes.

use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use super::prefixed::Prefixed;
use super::socket::Socket;

/// A stream of bytes both ways.
pub trait Transport: AsyncRead + AsyncWrite + Unpin {
    /// The socket whose bytes are the stream's own, so that the kernel may move them without showing them.
    ///
    /// `None` where they are another form of the same, such as in TLS, where they never go through the kernel, or while
    /// some of them have been read already.
    fn socket(&self) -> Option<&TcpStream> {
        None
    }
}

impl Transport for TcpStream {
    fn socket(&self) -> Option<&TcpStream> {
        Some(self)
    }
}

impl Transport for Socket {
    fn socket(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(stream) => Some(stream),
            Self::Within(_) => None,
        }
    }
}

impl<S: Transport> Transport for Prefixed<S> {
    fn socket(&self) -> Option<&TcpStream> {
        self.untouched_below()?.socket()
    }
}

impl<T: Transport + ?Sized> Transport for Box<T> {
    fn socket(&self) -> Option<&TcpStream> {
        (**self).socket()
    }
}

impl<S: Transport> Transport for TlsStream<S> {}

/// A tunnel lies within a message of HTTP.
impl Transport for TokioIo<Upgraded> {}

impl Transport for DuplexStream {}
