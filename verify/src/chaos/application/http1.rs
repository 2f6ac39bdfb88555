//! The side that speaks HTTP/1.1.

use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;
use http::StatusCode;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::{Application, HELD, Line, PIECE, PIECE_EVERY, SLOW};
use crate::chaos::content;
use crate::chaos::fault_mode::FaultMode;
use crate::chaos::request::{Call, When};

/// Longest head that is read.
const HEAD: usize = 64 * 1024;

/// A head that was read.
struct Head {
    call: Option<Call>,
    number: Option<Vec<u8>>,
    /// Of the body that follows.
    length: usize,
}

/// Answers one request after the other, until one ends the connection.
pub(super) async fn serve(mut stream: TcpStream, line: &Rc<Line>, application: &Rc<Application>) {
    let mut read = BytesMut::new();
    while let Some(head) = head(&mut stream, &mut read).await {
        if one(&mut stream, &mut read, &head, line, application).await.is_none() {
            return;
        }
    }
}

/// Answers a request; `None`: nothing can follow on the connection.
async fn one(
    stream: &mut TcpStream,
    read: &mut BytesMut,
    head: &Head,
    line: &Rc<Line>,
    application: &Rc<Application>,
) -> Option<()> {
    let (call, (number, fault_mode)) = (head.call?, application.begin(head.number.as_deref())?);
    while read.len() < head.length {
        (stream.read_buf(read).await.ok()? > 0).then_some(())?;
    }
    let received = read.split_to(head.length);
    if fault_mode == FaultMode::Slow {
        sleep(Duration::from_millis(fastrand::u64(SLOW))).await;
    }
    if fault_mode == FaultMode::Garbage {
        application.journal.answering(number);
        line.babble().await;
        return None;
    }
    let status = fault_mode.failure().map(|(status, _)| status);
    if status.is_none() && call == Call::Leave(When::BeforeHead) {
        closed(stream, HELD).await;
        return None;
    }
    application.journal.answering(number);
    let fields = application.head(number, &received);
    if status.is_none() && matches!(call, Call::Leave(_)) {
        endless(stream, &fields).await;
        return None;
    }
    let body = match (status, call) {
        (Some(_), _) => bytes::Bytes::new(),
        (None, Call::Large) => content::large(number),
        (None, _) => content::of_answer(number),
    };
    let length = format!("content-length: {}\r\n", body.len());
    let mut answer = written(status.unwrap_or(StatusCode::OK), &length, &fields);
    let resets = fault_mode == FaultMode::Resetting;
    answer.extend_from_slice(&body[..if resets { body.len() / 2 } else { body.len() }]);
    stream.write_all(&answer).await.ok()?;
    if resets {
        line.reset().await;
        return None;
    }
    Some(())
}

/// Sends pieces of a body until the caller is gone.
async fn endless(stream: &mut TcpStream, fields: &[(&'static str, String)]) -> Option<()> {
    let head = written(StatusCode::OK, "transfer-encoding: chunked\r\n", fields);
    stream.write_all(&head).await.ok()?;
    let chunk = format!("{PIECE:x}\r\n{}\r\n", "x".repeat(PIECE));
    for _ in 0..HELD.as_millis() / PIECE_EVERY.as_millis() {
        stream.write_all(chunk.as_bytes()).await.ok()?;
        if closed(stream, PIECE_EVERY).await {
            return None;
        }
    }
    Some(())
}

/// Waits for the caller to close the connection; says whether it did in time.
async fn closed(stream: &mut TcpStream, time: Duration) -> bool {
    // Nothing follows on a connection whose request was not answered.
    timeout(time, stream.read_u8()).await.is_ok()
}

/// A head as it is sent.
fn written(status: StatusCode, framing: &str, fields: &[(&'static str, String)]) -> Vec<u8> {
    let mut head = format!("HTTP/1.1 {status}\r\n{framing}");
    for (name, value) in fields {
        head.extend([*name, ": ", value, "\r\n"]);
    }
    head.push_str("\r\n");
    head.into()
}

/// Reads a head.
async fn head(stream: &mut TcpStream, read: &mut BytesMut) -> Option<Head> {
    loop {
        let mut fields = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut fields);
        if let httparse::Status::Complete(length) = request.parse(read).ok()? {
            let field = |name: &str| {
                let mut fields = request.headers.iter();
                fields.find(|field| field.name.eq_ignore_ascii_case(name)).map(|field| field.value.to_vec())
            };
            let body = field("content-length").and_then(|value| String::from_utf8(value).ok()?.parse().ok());
            let head = Head {
                call: request.path.and_then(Call::of_path),
                number: field(content::NUMBER),
                length: body.unwrap_or_default(),
            };
            let _head = read.split_to(length);
            return Some(head);
        }
        if read.len() > HEAD || !matches!(stream.read_buf(read).await, Ok(1..)) {
            return None;
        }
    }
}
