//! The application of an instance: answers over HTTP/1.1 on one port, and over HTTP/2 on another, gRPC among it; each
//! request by its fault mode.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::content;
use super::fault_mode::FaultMode;
use super::journal::Journal;
use weft_harness::mesh::local;

mod http1;
mod http2;

/// The application of an instance.
#[derive(Clone, Debug, Args)]
pub(crate) struct Options {
    /// Its name, and that of its files.
    #[arg(long)]
    pub(crate) name: String,
    /// Port of HTTP/1.1.
    #[arg(long)]
    pub(crate) http1: u16,
    /// Port of HTTP/2.
    #[arg(long)]
    pub(crate) http2: u16,
    /// Where its fault mode is told and its journal written.
    #[arg(long)]
    pub(crate) folder: std::path::PathBuf,
}

/// How long a slow one takes: some answers come within an attempt's time and some don't.
const SLOW: std::ops::Range<u64> = 200..1500;
/// Octets that are neither HTTP/1.1 nor a frame of HTTP/2.
const GARBAGE: &[u8] = b"\x16\x03\x01\x7f\xff what?\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff";
/// Time for what was written to leave before the connection is reset: a reset throws away what waits.
const BEFORE_RESET: Duration = Duration::from_millis(20);
/// How long an answer that clients do not wait for goes on: longer than any route lets it.
const HELD: Duration = Duration::from_secs(10);
/// Between two pieces of an answer that does not end.
const PIECE_EVERY: Duration = Duration::from_millis(50);
/// Length of those.
const PIECE: usize = 1000;

struct Application {
    name: String,
    folder: PathBuf,
    journal: Journal,
}

/// Serves until it is killed.
pub(crate) async fn run(options: Options) -> anyhow::Result<()> {
    let journal = Journal::open(&options.folder, &options.name)?;
    let (http1, http2) = (listen(options.http1).await?, listen(options.http2).await?);
    let application = Rc::new(Application { name: options.name, folder: options.folder, journal });
    loop {
        let (stream, is_http2) = tokio::select! {
            accepted = http1.accept() => (accepted, false),
            accepted = http2.accept() => (accepted, true),
        };
        let (stream, _) = stream.context("accepting a connection")?;
        stream.set_nodelay(true)?;
        tokio::task::spawn_local(connection(stream, is_http2, Rc::clone(&application)));
    }
}

async fn listen(port: u16) -> anyhow::Result<TcpListener> {
    TcpListener::bind(local(port)).await.with_context(|| format!("listening on port {port}"))
}

/// How the connection of a request is ended from within it.
struct Line {
    /// The same socket once more.
    socket: OwnedFd,
    cut: Notify,
}

impl Line {
    /// Resets the connection, whatever else is under way on it.
    async fn reset(&self) {
        sleep(BEFORE_RESET).await;
        // Without an effect the connection ends in order, which is a failure for the client all the same.
        let _ = rustix::net::sockopt::set_socket_linger(&self.socket, Some(Duration::ZERO));
        self.cut.notify_one();
    }

    /// Says what nobody understands, and ends the connection.
    async fn babble(&self) {
        let _ = rustix::io::write(&self.socket, GARBAGE);
        sleep(BEFORE_RESET).await;
        self.cut.notify_one();
    }
}

/// A connection that fails is the client's to report, so its error ends it silently.
async fn connection(stream: TcpStream, is_http2: bool, application: Rc<Application>) {
    let Ok(socket) = stream.as_fd().try_clone_to_owned() else { return };
    let line = Rc::new(Line { socket, cut: Notify::new() });
    let cut = Rc::clone(&line);
    let serving = async {
        if is_http2 {
            http2::serve(stream, &line, &application).await;
        } else {
            http1::serve(stream, &line, &application).await;
        }
    };
    tokio::select! {
        () = serving => {}
        () = cut.cut.notified() => {}
    }
}

impl Application {
    /// Begins a request; gives its number and the fault mode that it meets.
    fn begin(&self, number: Option<&[u8]>) -> Option<(u64, FaultMode)> {
        let number = std::str::from_utf8(number?).ok()?.parse().ok()?;
        self.journal.begun(number);
        Some((number, FaultMode::read(&self.folder, &self.name)))
    }

    fn head(&self, number: u64, received: &[u8]) -> [(&'static str, String); 3] {
        [
            (content::NUMBER, number.to_string()),
            (content::INSTANCE, self.name.clone()),
            (content::RECEIVED, content::hash(received)),
        ]
    }
}
