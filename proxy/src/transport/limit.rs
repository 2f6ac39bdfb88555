//! How many connections of clients a proxy holds at once.

use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use weft_mesh::limits::{Limiter, Permit};

use super::stream::Transport;
use crate::runtime::clock::Seldom;

/// The connections of clients that there are, of all workers, and how many there may be; as many as like until that is set.
///
/// Whoever reaches a proxy can hold connections to it. Half of the places are for callers that have not proven who they are,
/// a quarter for those that may still do so ([`UnprovenConnections`]); so the last quarter is always left to what the workload opens
/// itself, and to callers that have proven who they are.
///
/// [`UnprovenConnections`]: super::unproven::UnprovenConnections
#[derive(Debug, Default)]
pub struct ConnectionLimit {
    open: Arc<Limiter>,
    unproven: Arc<Limiter>,
    most: AtomicU32,
    told: Seldom,
}

impl ConnectionLimit {
    /// Allows so many connections from now on. Those that are open stay.
    pub fn set(&self, most: u32) {
        self.most.store(most, Ordering::Relaxed);
    }

    /// How many there may be.
    pub fn most(&self) -> u32 {
        self.most.load(Ordering::Relaxed)
    }

    /// A place for one more connection, if there is one.
    pub fn enter(&self) -> Option<Permit> {
        self.place(&self.open, self.most())
    }

    /// A place, beside that among all, for a connection of which it is known that nobody proves anything on it.
    pub fn enter_unproven(&self) -> Option<Permit> {
        let most = self.most();
        // One at least, and as many as like where all may be so many.
        self.place(&self.unproven, most - most / 2)
    }

    /// How many connections may be open on each of so many workers of which it is not known yet whose they are.
    pub fn strangers(&self, workers: usize) -> usize {
        match self.most() {
            0 => usize::MAX,
            most => (most as usize / 4 / workers.max(1)).max(1),
        }
    }

    fn place(&self, gauge: &Arc<Limiter>, most: u32) -> Option<Permit> {
        let place = gauge.enter(most);
        if place.is_none() && self.told.is_due() {
            tracing::warn!(most, "there are as many connections of clients as may be; new ones are refused");
        }
        place
    }
}

/// A connection of a client, in its place. What outlives the protocol that it began with, such as a WebSocket, keeps that.
#[derive(Debug)]
pub struct Accepted {
    stream: TcpStream,
    places: Arc<Places>,
}

/// The places of one connection, which may outlive what it is served by first.
#[derive(Debug)]
pub struct Places {
    _all: Permit,
    unproven: OnceLock<Permit>,
}

impl Places {
    /// Takes a place among the connections on which nobody proves anything; whether there is one.
    pub fn take_unproven(&self, limit: &ConnectionLimit) -> bool {
        self.unproven.get().is_some()
            || limit.enter_unproven().is_some_and(|place| self.unproven.set(place).is_ok())
    }
}

impl Accepted {
    pub(super) fn new(stream: TcpStream, place: Permit) -> Self {
        Self { stream, places: Arc::new(Places { _all: place, unproven: OnceLock::new() }) }
    }

    /// Its places.
    pub fn places(&self) -> &Arc<Places> {
        &self.places
    }

    /// Its socket.
    pub fn tcp(&self) -> &TcpStream {
        &self.stream
    }
}

impl Transport for Accepted {
    fn socket(&self) -> Option<&TcpStream> {
        Some(&self.stream)
    }

    fn abort(&self) {
        self.stream.abort();
    }

    fn is_reset(&self) -> bool {
        self.stream.is_reset()
    }
}

impl AsyncRead for Accepted {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Accepted {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
