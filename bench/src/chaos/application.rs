//! The application of an instance: answers over HTTP/1.1 on one port and over HTTP/2 on another, each request by its mood.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::rc::Rc;
use std::time::Duration;

use anyhow::Context;
use bytes::{Bytes, BytesMut};
use http::{HeaderMap, Response};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::time::sleep;

use super::content;
use super::journal::Journal;
use super::mood::Mood;
use crate::mesh::local;
use crate::options::Application as Options;

/// How long a slow one takes: some answers come within an attempt's time and some don't.
const SLOW: std::ops::Range<u64> = 200..1500;
/// Octets that are neither HTTP/1.1 nor a frame of HTTP/2.
const GARBAGE: &[u8] = b"\x16\x03\x01\x7f\xff what?\r\n\r\n\xff\xff\xff\xff\xff\xff\xff\xff";
/// Time for what was written to leave before the connection is reset: a reset throws away what waits.
const BEFORE_RESET: Duration = Duration::from_millis(20);
/// Longest head that is read.
const HEAD: usize = 64 * 1024;

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
            http2(stream, &line, &application).await;
        } else {
            http1(stream, &line, &application).await;
        }
    };
    tokio::select! {
        () = serving => {}
        () = cut.cut.notified() => {}
    }
}

impl Application {
    /// Begins a request; gives its number and the mood that it meets.
    fn begin(&self, number: Option<&[u8]>) -> Option<(u64, Mood)> {
        let number = std::str::from_utf8(number?).ok()?.parse().ok()?;
        self.journal.begun(number);
        Some((number, Mood::read(&self.folder, &self.name)))
    }

    fn head(&self, number: u64, received: &[u8]) -> [(&'static str, String); 3] {
        [
            (content::NUMBER, number.to_string()),
            (content::INSTANCE, self.name.clone()),
            (content::RECEIVED, content::hash(received)),
        ]
    }
}

async fn http1(mut stream: TcpStream, line: &Rc<Line>, application: &Rc<Application>) {
    let mut read = BytesMut::new();
    while let Some((length, number)) = head(&mut stream, &mut read).await {
        let Some((number, mood)) = application.begin(number.as_deref()) else { return };
        while read.len() < length {
            if !matches!(stream.read_buf(&mut read).await, Ok(1..)) {
                return;
            }
        }
        let received = read.split_to(length);
        let body = content::of_answer(number);
        if mood == Mood::Slow {
            sleep(Duration::from_millis(fastrand::u64(SLOW))).await;
        }
        application.journal.answering(number);
        if mood == Mood::Garbage {
            return line.babble().await;
        }
        let mut answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n", body.len());
        for (name, value) in application.head(number, &received) {
            answer.extend([name, ": ", &value, "\r\n"]);
        }
        answer.push_str("\r\n");
        let mut answer = Vec::from(answer);
        let part = if mood == Mood::Resetting { body.len() / 2 } else { body.len() };
        answer.extend_from_slice(&body[..part]);
        if stream.write_all(&answer).await.is_err() {
            return;
        }
        if mood == Mood::Resetting {
            line.reset().await;
        }
    }
}

/// Reads a head: the length of the body that follows, and the request's number.
async fn head(stream: &mut TcpStream, read: &mut BytesMut) -> Option<(usize, Option<Vec<u8>>)> {
    loop {
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut fields);
        if let httparse::Status::Complete(length) = request.parse(read).ok()? {
            let field = |name: &str| {
                let mut fields = request.headers.iter();
                fields.find(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value.to_vec())
            };
            let number = field(content::NUMBER);
            let body = field("content-length").and_then(|value| String::from_utf8(value).ok()?.parse().ok());
            let _head = read.split_to(length);
            return Some((body.unwrap_or_default(), number));
        }
        if read.len() > HEAD || !matches!(stream.read_buf(read).await, Ok(1..)) {
            return None;
        }
    }
}

async fn http2(stream: TcpStream, line: &Rc<Line>, application: &Rc<Application>) {
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(1000).initial_window_size(1 << 20).initial_connection_window_size(4 << 20);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let (line, application) = (Rc::clone(line), Rc::clone(application));
        tokio::task::spawn_local(async move { stream_of(request, respond, &line, &application).await });
    }
}

/// Answers one stream. It ends where the caller resets it, as an application of HTTP/2 would.
async fn stream_of(
    request: http::Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    line: &Rc<Line>,
    application: &Rc<Application>,
) -> Option<()> {
    let number = |headers: &HeaderMap| headers.get(content::NUMBER).map(|value| value.as_bytes().to_vec());
    let (number, mood) = application.begin(number(request.headers()).as_deref())?;
    let mut received = Vec::new();
    let mut body = request.into_body();
    while let Some(data) = body.data().await {
        let data = data.ok()?;
        received.extend_from_slice(&data);
        body.flow_control().release_capacity(data.len()).ok()?;
    }
    if mood == Mood::Slow {
        let pause = sleep(Duration::from_millis(fastrand::u64(SLOW)));
        tokio::select! {
            () = pause => {}
            _ = std::future::poll_fn(|context| respond.poll_reset(context)) => return None,
        }
    }
    application.journal.answering(number);
    if mood == Mood::Garbage {
        line.babble().await;
        return None;
    }
    let mut body = content::of_answer(number);
    let mut response = Response::builder().header(http::header::CONTENT_LENGTH, body.len());
    for (name, value) in application.head(number, &received) {
        response = response.header(name, value);
    }
    let mut sending = respond.send_response(response.body(()).ok()?, false).ok()?;
    let resets = mood == Mood::Resetting;
    if resets {
        body.truncate(body.len() / 2);
    }
    sending.send_data(body, !resets).ok()?;
    if resets {
        line.reset().await;
    }
    Some(())
}
