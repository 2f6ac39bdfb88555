//! Whatever frames of weft/1 come, an application of HTTP/1 that reads strictly gets exactly one well-formed request for each
//! stream that is taken, on connections that are used again, or sees its connection break off within one.
//!
//! What goes on is what a sidecar gives to hyper: the head after `weft_mesh::http_validation::for_http1`, and the stream's DATA as they
//! come. The first octet says where the rest is cut; SETTINGS are said beforehand.

#![no_main]

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use http::header::CONTENT_LENGTH;
use http::{HeaderValue, Method, Request};
use http_body::{Body, Frame, SizeHint};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::rt::{Read, ReadBufCursor, Write};
use libfuzzer_sys::fuzz_target;
use weft_hop::{Config, Connection, Event, Protocol, RequestHead, Role, StreamId};
use weft_mesh::forwarded::{remove_client_certificate, set_client_certificate};
use weft_mesh::headers::remove_hop_by_hop;
use weft_mesh::http_validation::{Content, End, Requests, for_http1, objection};

const SETTINGS: [u8; 8] = [0; 8];
const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n";
/// Turns that a request may take; each moves something, or nothing ever will.
const TURNS: usize = 10_000;

fuzz_target!(|input: &[u8]| {
    let Some((&cut, octets)) = input.split_first() else { return };
    let mut sidecar = Sidecar::default();
    for (head, content) in arrived(octets, usize::from(cut) + 1).into_values() {
        sidecar.forward(head, content);
    }
});

/// What has come on one stream after its head.
#[derive(Default)]
struct Arrived {
    frames: VecDeque<Frame<Bytes>>,
    length: Option<u64>,
    ended: bool,
}

/// The requests of a connection, by their streams.
fn arrived(octets: &[u8], cut: usize) -> BTreeMap<StreamId, (Box<RequestHead>, Arrived)> {
    let now = Instant::now();
    let mut connection = Connection::new(Role::Server, Config::default(), now);
    connection.receive(&mut BytesMut::from(&SETTINGS[..]), now).expect("SETTINGS without entries are valid");
    let mut streams = BTreeMap::new();
    let mut buffer = BytesMut::new();
    for piece in octets.chunks(cut) {
        buffer.extend_from_slice(piece);
        let failed = connection.receive(&mut buffer, now).is_err();
        while let Some(event) = connection.poll_event() {
            match event {
                Event::Request { stream, head, end } => {
                    let length = head.parts.headers.get(CONTENT_LENGTH);
                    let length = length.and_then(|length| length.to_str().ok()?.parse().ok());
                    streams.insert(stream, (head, Arrived { length, ended: end, ..Arrived::default() }));
                }
                Event::Data { stream, data, end } => {
                    connection.consumed(stream, data.len());
                    let Some((_, content)) = streams.get_mut(&stream) else { continue };
                    if !data.is_empty() {
                        content.frames.push_back(Frame::data(data));
                    }
                    content.ended |= end;
                }
                Event::Trailers { stream, mut trailers } => {
                    let Some((_, content)) = streams.get_mut(&stream) else { continue };
                    remove_client_certificate(&mut trailers.fields);
                    content.frames.push_back(Frame::trailers(trailers.fields));
                    content.ended = true;
                }
                _ => {}
            }
        }
        if failed {
            break;
        }
    }
    streams
}

impl Body for Arrived {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        let Some(frame) = self.frames.pop_front() else {
            let broken = || Some(Err(io::ErrorKind::UnexpectedEof.into()));
            return Poll::Ready(if self.ended { None } else { broken() });
        };
        let octets = frame.data_ref().map_or(0, Bytes::len) as u64;
        self.length = self.length.map(|length| length.saturating_sub(octets));
        Poll::Ready(Some(Ok(frame)))
    }

    fn is_end_stream(&self) -> bool {
        self.ended && self.frames.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        self.length.map(SizeHint::with_exact).unwrap_or_default()
    }
}

/// An application's end of a connection.
#[derive(Default)]
struct Application {
    requests: Requests,
    held: Vec<u8>,
    answers: VecDeque<u8>,
    /// Whether a request has begun and is not over.
    begun: bool,
}

impl Application {
    fn read(&mut self, octets: &[u8]) {
        self.held.extend_from_slice(octets);
        loop {
            let checked = self.requests.check(&self.held);
            let good = checked.good;
            let rest = String::from_utf8_lossy(&self.held).into_owned();
            self.held.drain(..good);
            match checked.end {
                End::Violation(violation) => panic!("{violation}: {rest:?}"),
                End::Encode(from, to) => panic!("a target that must be encoded, {from} to {to}: {rest:?}"),
                End::Room => panic!("the application has room from the beginning: {rest:?}"),
                End::Undecided => self.requests.decided(false),
                End::More => {}
            }
            self.begun |= good > 0 || !self.held.is_empty();
            if self.begun && self.held.is_empty() && !self.requests.is_in_body() {
                self.begun = false;
                self.answers.extend(ANSWER);
            }
            if checked.end == End::More {
                break;
            }
        }
    }
}

impl Read for Application {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        if self.answers.is_empty() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        let count = self.answers.len().min(buf.remaining());
        let octets: Vec<u8> = self.answers.drain(..count).collect();
        buf.put_slice(&octets);
        Poll::Ready(Ok(()))
    }
}

impl Write for Application {
    fn poll_write(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        self.read(buf);
        Poll::Ready(Ok(buf.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

type Open = (SendRequest<Arrived>, http1::Connection<Application, Arrived>);

/// The side that writes, with the connection that it keeps.
#[derive(Default)]
struct Sidecar(Option<Open>);

impl Sidecar {
    fn forward(&mut self, head: Box<RequestHead>, content: Arrived) {
        let mut request = Request::from_parts(head.parts, content);
        if request.extensions().get::<Protocol>().is_some() {
            return;
        }
        remove_hop_by_hop(request.headers_mut());
        if objection(&request).is_some() {
            return;
        }
        set_client_certificate(request.headers_mut(), Some(&HeaderValue::from_static("URI=spiffe://peer")));
        if request.method() == Method::CONNECT {
            *request.body_mut() = Arrived { ended: true, ..Arrived::default() };
        }
        let body = request.body();
        let length = if body.is_end_stream() {
            Content::None
        } else {
            body.size_hint().exact().map_or(Content::Unknown, Content::Exactly)
        };
        if for_http1(&mut request, length).is_err() {
            return;
        }
        let (sender, connection) = self.0.take().unwrap_or_else(connect);
        self.0 = exchange(sender, connection, request);
    }
}

fn connect() -> Open {
    let handshake = http1::Builder::new().preserve_header_case(true).handshake(Application::default());
    match pin!(handshake).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(open)) => open,
        other => panic!("a connection of HTTP/1 begins without a word: {:?}", other.is_ready()),
    }
}

/// Sends one request and waits for its answer; gives the connection back where another one may follow on it.
fn exchange(
    mut sender: SendRequest<Arrived>,
    mut connection: http1::Connection<Application, Arrived>,
    request: Request<Arrived>,
) -> Option<Open> {
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..TURNS {
        if sender.is_ready() {
            break;
        }
        if Pin::new(&mut connection).poll(&mut cx).is_ready() {
            return None;
        }
    }
    let answered = {
        let mut sending = pin!(sender.send_request(request));
        let mut turns = 0..TURNS;
        loop {
            turns.next().expect("a request is answered, or its connection ends");
            if let Poll::Ready(answered) = sending.as_mut().poll(&mut cx) {
                break answered.is_ok();
            }
            if Pin::new(&mut connection).poll(&mut cx).is_ready() {
                return None;
            }
        }
    };
    if !answered {
        return None;
    }
    // The answer is without content: what is left of its connection is the request's own.
    for _ in 0..TURNS {
        if Pin::new(&mut connection).poll(&mut cx).is_ready() {
            return None;
        }
        if sender.is_ready() {
            let io = connection.into_parts().io;
            assert!(!io.begun && io.held.is_empty() && io.answers.is_empty(), "more than one request");
            return again(io);
        }
    }
    None
}

/// The same connection of the application, for the next request.
fn again(application: Application) -> Option<Open> {
    let handshake = http1::Builder::new().preserve_header_case(true).handshake(application);
    match pin!(handshake).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(Ok(open)) => Some(open),
        Poll::Ready(Err(_)) | Poll::Pending => None,
    }
}
