//! Opens connections to a destination or to the proxy in front of it.

use std::future::Future;
use std::io::{Error, ErrorKind, IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::Uri;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::proxy::Proxy;

/// A sidecar is on the same machine and any other destination close by; who doesn't accept by then is gone.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(1);

/// Connects for the pool.
#[derive(Debug, Clone)]
pub(crate) struct Connector {
    proxy: Proxy,
}

impl Connector {
    pub(super) fn new(proxy: Proxy) -> Self {
        Self { proxy }
    }
}

impl tower_service::Service<Uri> for Connector {
    type Response = Stream;
    type Error = Error;
    type Future = Pin<Box<dyn Future<Output = Result<Stream>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let host = uri.host().unwrap_or_default();
        let proxy = self.proxy.for_host(host);
        let through_proxy = proxy.is_some();
        let (host, port) = match proxy {
            Some(proxy) => (proxy.host(), proxy.port_u16()),
            None => (host, uri.port_u16()),
        };
        let host = host.trim_matches(['[', ']']).to_owned();
        let port = port.unwrap_or(80);
        Box::pin(async move {
            let connecting = TcpStream::connect((host.as_str(), port));
            let stream = tokio::time::timeout(CONNECT_TIMEOUT, connecting)
                .await
                .map_err(|_| Error::from(ErrorKind::TimedOut))??;
            // A request is written whole; waiting to fill a segment would only delay it.
            stream.set_nodelay(true)?;
            Ok(Stream { io: TokioIo::new(stream), through_proxy })
        })
    }
}

/// A connection that knows whether a proxy is at its end, because requests then carry the whole URL
/// (RFC 9112, section 3.2.2).
pub(crate) struct Stream {
    io: TokioIo<TcpStream>,
    through_proxy: bool,
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        Connected::new().proxy(self.through_proxy)
    }
}

impl Read for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<Result<usize>> {
        Pin::new(&mut self.io).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        Pin::new(&mut self.io).poll_write_vectored(cx, bufs)
    }
}
