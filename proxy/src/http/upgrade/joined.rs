//! A connection after it has changed to another protocol.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::transport::stream::{ResetFlag, Transport};

/// A connection that is about to change to another protocol.
#[derive(Debug)]
pub struct Upgrade {
    connection: OnUpgrade,
    reset: Option<ResetFlag>,
}

impl Upgrade {
    /// That of a request's client.
    pub fn of_request<B>(request: &mut Request<B>) -> Self {
        let reset = request.extensions_mut().remove();
        Self { connection: hyper::upgrade::on(request), reset }
    }

    /// That of a response's server.
    pub fn of_response<B>(response: &mut Response<B>) -> Self {
        let reset = response.extensions_mut().remove();
        Self { connection: hyper::upgrade::on(response), reset }
    }

    /// The connection, once its change is agreed to.
    pub async fn upgraded(self) -> hyper::Result<Upgraded> {
        Ok(Upgraded { stream: TokioIo::new(self.connection.await?), reset: self.reset })
    }
}

/// A connection that has changed to another protocol.
#[derive(Debug)]
pub struct Upgraded {
    stream: TokioIo<hyper::upgrade::Upgraded>,
    /// `None` for a stream of HTTP/2, which the library can end in no other way than in order.
    reset: Option<ResetFlag>,
}

impl Transport for Upgraded {
    fn abort(&self) {
        if let Some(reset) = &self.reset {
            reset.set();
        }
    }
}

impl AsyncRead for Upgraded {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Upgraded {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.get_mut().stream).poll_write(cx, buf)
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(cx)
    }
}
