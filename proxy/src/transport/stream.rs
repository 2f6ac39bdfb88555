//! What the proxy asks of a stream beside its bytes: which socket is right below it, and that it be reset.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite};
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

    /// Has the connection end by a reset (RFC 9293 section 3.10.7) instead of an orderly end once the stream is dropped: its
    /// peer is to know that what it has is not the whole.
    fn abort(&self);

    /// Whether the peer has reset the connection, as far as that is known without reading: of a direction that has ended
    /// nothing more is read.
    fn is_reset(&self) -> bool {
        false
    }
}

impl Transport for TcpStream {
    fn socket(&self) -> Option<&TcpStream> {
        Some(self)
    }

    fn abort(&self) {
        // Without time to linger, closing throws away what is queued and resets.
        if let Err(error) = SockRef::from(self).set_linger(Some(Duration::ZERO)) {
            tracing::debug!(%error, "a connection is closed without a reset");
        }
    }

    fn is_reset(&self) -> bool {
        !matches!(self.take_error(), Ok(None))
    }
}

impl Transport for Socket {
    fn socket(&self) -> Option<&TcpStream> {
        match self {
            Self::Tcp(stream) => Some(stream),
            Self::Within(_) => None,
        }
    }

    fn abort(&self) {
        match self {
            Self::Tcp(stream) => stream.abort(),
            Self::Within(stream) => stream.abort(),
        }
    }

    fn is_reset(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_reset(),
            Self::Within(stream) => stream.is_reset(),
        }
    }
}

impl<S: Transport> Transport for Prefixed<S> {
    fn socket(&self) -> Option<&TcpStream> {
        self.untouched_below()?.socket()
    }

    fn abort(&self) {
        self.below().abort();
    }

    fn is_reset(&self) -> bool {
        self.below().is_reset()
    }
}

impl<T: Transport + ?Sized> Transport for Box<T> {
    fn socket(&self) -> Option<&TcpStream> {
        (**self).socket()
    }

    fn abort(&self) {
        (**self).abort();
    }

    fn is_reset(&self) -> bool {
        (**self).is_reset()
    }
}

/// An end without `close_notify` would do as long as none was sent; a reset of the connection below says it at any time.
impl<S: Transport> Transport for TlsStream<S> {
    fn abort(&self) {
        self.get_ref().0.abort();
    }

    fn is_reset(&self) -> bool {
        self.get_ref().0.is_reset()
    }
}

/// Whether a connection is to end by a reset, where whoever knows that does not hold the connection itself.
#[derive(Debug, Clone, Default)]
pub struct ResetFlag(Arc<AtomicBool>);

impl ResetFlag {
    /// From now on it is.
    pub fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether it is.
    pub fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}
