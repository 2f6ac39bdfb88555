//! Connections of HTTP/1 that rest between requests: most of those that are open at any time.
//!
//! hyper keeps 8 KiB to read into, as much to write from, and its state for each connection as long as that is open. One
//! that has had no request for a while is taken from it, and holds nothing but the stream and its guard until the next
//! octet comes.

use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use hyper::body::Incoming;
use hyper::server::conn::http1::{Builder, Parts, UpgradeableConnection};
use hyper::service::HttpService;
use hyper_util::rt::TokioIo;
use tokio::io::AsyncWriteExt;
use tokio::time::timeout;
use weft_mesh::http_validation::MAX_FIELDS;

use super::body::Body;
use super::drive::drive;
use super::guard::{GuardedRequests, REST, Signals};
use super::informational::WithInformational;
use crate::transport::stream::Transport;

/// A client's connection as hyper gets it.
type Guarded<S> = WithInformational<GuardedRequests<S>>;

/// Serves a connection until its client closes it, or `end` is ready and what is under way has ended. Once a minute it is
/// looked at while hyper has it; `None`: it was given up then.
pub(super) async fn serve<S, V, E>(
    mut builder: Builder,
    mut stream: Guarded<S>,
    mut service: V,
    signals: &Signals,
    end: impl Fn() -> E,
    look: impl Fn() -> bool,
) -> Option<hyper::Result<()>>
where
    S: Transport + Send + 'static,
    V: HttpService<Incoming, ResBody = Body, Error = Infallible>,
    E: Future<Output = ()>,
{
    loop {
        let connection = builder.serve_connection(TokioIo::new(stream), service).with_upgrades();
        // In memory of its own, which a connection that rests gives back.
        let mut connection = Box::pin(UntilRest { connection, signals });
        let shut_down = |awake: Pin<&mut UntilRest<'_, S, V>>| {
            Pin::new(&mut awake.get_mut().connection).graceful_shutdown();
        };
        match drive(connection.as_mut(), shut_down, end(), &look).await {
            Some(None) => {}
            served => {
                if !matches!(served, Some(Some(Ok(())))) {
                    // Before hyper closes it.
                    signals.breaks_off();
                }
                return served.flatten();
            }
        }
        let Some(parts) = Pin::into_inner(connection).into_parts() else { return Some(Ok(())) };
        (stream, service) = parts;
        if signals.take_room() {
            // hyper fills room for as many fields as it is told of, for each head. What it has without that is free.
            builder.max_headers(MAX_FIELDS);
            stream.get_mut().give_room();
            continue;
        }
        if !rest(stream.get_mut(), end()).await {
            // Whatever the client makes of it, there is nothing left to say.
            let _ = stream.shutdown().await;
            return Some(Ok(()));
        }
    }
}

/// Waits for the next octet; `false`: for none, as none comes in time or `end` is ready.
async fn rest<S>(guard: &mut GuardedRequests<S>, end: impl Future<Output = ()>) -> bool
where
    S: Transport,
{
    let mut end = pin!(end);
    let waking = poll_fn(|cx| match guard.poll_wake(cx) {
        // A request that is there already is answered, as the connection does not end in the middle of it.
        Poll::Pending => end.as_mut().poll(cx).map(|()| false),
        woken @ Poll::Ready(_) => woken,
    });
    timeout(REST, waking).await.unwrap_or(false)
}

/// A connection that hyper has until it may rest, or needs more room; then `None`.
struct UntilRest<'a, S, V>
where
    S: Transport + Send + 'static,
    V: HttpService<Incoming, ResBody = Body, Error = Infallible>,
{
    connection: UpgradeableConnection<TokioIo<Guarded<S>>, V>,
    signals: &'a Signals,
}

impl<S, V> UntilRest<'_, S, V>
where
    S: Transport + Send + 'static,
    V: HttpService<Incoming, ResBody = Body, Error = Infallible>,
{
    /// Takes the connection back from hyper, whose buffers end here. `None`: it has become another protocol's.
    fn into_parts(self) -> Option<(Guarded<S>, V)> {
        let Parts { io, read_buf, service, .. } = self.connection.into_parts()?;
        let mut stream = io.into_inner();
        stream.get_mut().take_back(&read_buf);
        Some((stream, service))
    }
}

impl<S, V> Future for UntilRest<'_, S, V>
where
    S: Transport + Send + 'static,
    V: HttpService<Incoming, ResBody = Body, Error = Infallible>,
{
    type Output = Option<hyper::Result<()>>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.get_mut();
        match Pin::new(&mut this.connection).poll(cx) {
            Poll::Ready(served) => Poll::Ready(Some(served)),
            Poll::Pending if this.signals.may_rest() || this.signals.wants_room() => Poll::Ready(None),
            Poll::Pending => Poll::Pending,
        }
    }
}

#[cfg(test)]
mod tests;
