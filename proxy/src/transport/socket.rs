//! Options of sockets, and where a redirected connection was meant to go.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use socket2::{SockRef, TcpKeepalive};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::within::Within;

/// Time without traffic after which the kernel asks whether the peer is still there, far below the 350 s after which
/// common load balancers and NAT tables forget a connection: a host that is gone is found out within a minute.
const KEEPALIVE_AFTER: Duration = Duration::from_secs(30);
/// Time between such questions, and how many of them are left without an answer before the kernel gives up.
const KEEPALIVE_EVERY: Duration = Duration::from_secs(10);
const KEEPALIVE_QUESTIONS: u32 = 3;

/// A connection that this proxy opened.
#[derive(Debug)]
pub enum Socket {
    /// Through the kernel.
    Tcp(TcpStream),
    /// Within this process.
    Within(Within),
}

impl Socket {
    /// Connects to an address.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        #[cfg(test)]
        if let Some(connecting) = crate::tests::network::connect(address) {
            return connecting.await.map(Self::Within);
        }
        let stream = TcpStream::connect(address).await?;
        configure(&stream)?;
        Ok(Self::Tcp(stream))
    }
}

/// Sets what every connection of the proxy has: no delay of small segments, and keep-alive probes.
pub fn configure(stream: &TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let keepalive = TcpKeepalive::new()
        .with_time(KEEPALIVE_AFTER)
        .with_interval(KEEPALIVE_EVERY)
        .with_retries(KEEPALIVE_QUESTIONS);
    SockRef::from(stream).set_tcp_keepalive(&keepalive)
}

/// The address that the client dialled before the kernel redirected the connection here (`SO_ORIGINAL_DST`, and its
/// counterpart of IPv6), or `None` if it was not redirected.
pub fn original_destination(stream: &TcpStream) -> io::Result<Option<SocketAddr>> {
    let local = canonical(stream.local_addr()?);
    let socket = SockRef::from(stream);
    let original = if stream.local_addr()?.is_ipv4() || local.is_ipv4() {
        socket.original_dst_v4()
    } else {
        socket.original_dst_v6()
    };
    let Some(original) = original.ok().and_then(|address| address.as_socket()).map(canonical) else {
        // The kernel has no entry for a connection that was not redirected.
        return Ok(None);
    };
    Ok((original != local).then_some(original))
}

/// An IPv4 address that arrives on a socket of IPv6, as the IPv4 address that it is.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    SocketAddr::new(address.ip().to_canonical(), address.port())
}

impl AsyncRead for Socket {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
            Self::Within(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Socket {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
            Self::Within(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Self::Within(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Within(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Within(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Within(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_host_that_is_gone_is_found_out_within_a_minute() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let connection = Socket::connect(listener.local_addr().unwrap()).await.unwrap();
        let Socket::Tcp(stream) = connection else { panic!("not through the kernel") };
        let socket = SockRef::from(&stream);
        assert!(socket.keepalive().unwrap() && socket.tcp_nodelay().unwrap());
        let questions = socket.tcp_keepalive_retries().unwrap();
        let gone =
            socket.tcp_keepalive_time().unwrap() + socket.tcp_keepalive_interval().unwrap() * questions;
        assert!(gone <= Duration::from_mins(1), "{gone:?}");
    }
}
