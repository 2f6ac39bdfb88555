//! The side that speaks HTTP/2, and gRPC where that is asked for.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use h2::SendStream;
use h2::server::SendResponse;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::{Application, HELD, Line, PIECE, PIECE_EVERY, SLOW};
use crate::chaos::fault_mode::FaultMode;
use crate::chaos::request::{Call, When};
use crate::chaos::{answer, content};

/// Of a large answer of gRPC, what is in one message.
const MESSAGE: usize = 16 * 1024;
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");

/// Serves streams until the connection ends.
pub(super) async fn serve(stream: TcpStream, line: &Rc<Line>, application: &Rc<Application>) {
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(1000).initial_window_size(1 << 20).initial_connection_window_size(4 << 20);
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let (line, application) = (Rc::clone(line), Rc::clone(application));
        tokio::task::spawn_local(async move { one(request, respond, &line, &application).await });
    }
}

/// Answers one stream. It ends where the caller resets it, as an application of HTTP/2 would.
async fn one(
    request: http::Request<h2::RecvStream>,
    mut respond: SendResponse<Bytes>,
    line: &Rc<Line>,
    application: &Rc<Application>,
) -> Option<()> {
    let field = |name: &str| request.headers().get(name).map(|value| value.as_bytes().to_vec());
    let call = Call::of_path(request.uri().path())?;
    let (number, fault_mode) = application.begin(field(content::NUMBER).as_deref())?;
    let grpc = request.headers().get(header::CONTENT_TYPE) == Some(&GRPC);
    let mut received = Vec::new();
    let mut body = request.into_body();
    while let Some(data) = body.data().await {
        let data = data.ok()?;
        received.extend_from_slice(&data);
        body.flow_control().release_capacity(data.len()).ok()?;
    }
    let received = if grpc { answer::messages(&received)? } else { received.into() };
    if fault_mode == FaultMode::Slow && gone(&mut respond, Duration::from_millis(fastrand::u64(SLOW))).await {
        return None;
    }
    if fault_mode == FaultMode::Garbage {
        application.journal.answering(number);
        line.babble().await;
        return None;
    }
    if fault_mode.failure().is_none() && call == Call::Leave(When::BeforeHead) {
        gone(&mut respond, HELD).await;
        return None;
    }
    application.journal.answering(number);
    let mut response = Response::new(());
    for (name, value) in application.head(number, &received) {
        response.headers_mut().insert(name, value.parse().ok()?);
    }
    if grpc {
        response.headers_mut().insert(header::CONTENT_TYPE, GRPC);
    }
    if let Some((status, grpc_status)) = fault_mode.failure() {
        let answer = if grpc {
            response.headers_mut().insert("grpc-status", HeaderValue::from_static(grpc_status));
            response
        } else {
            *response.status_mut() = status;
            response
        };
        respond.send_response(answer, true).ok()?;
        return None;
    }
    answered(
        respond,
        response,
        number,
        call,
        Manner { grpc, resets: fault_mode == FaultMode::Resetting },
        line,
    )
    .await
}

/// How an answer is given.
#[derive(Clone, Copy)]
struct Manner {
    grpc: bool,
    resets: bool,
}

/// Sends an answer that is no failure.
async fn answered(
    mut respond: SendResponse<Bytes>,
    mut response: Response<()>,
    number: u64,
    call: Call,
    manner: Manner,
    line: &Rc<Line>,
) -> Option<()> {
    let Manner { grpc, resets } = manner;
    if matches!(call, Call::Leave(_)) && !resets {
        let mut sending = respond.send_response(response, false).ok()?;
        let piece = vec![b'x'; PIECE];
        let piece = if grpc { answer::message(&piece) } else { piece.into() };
        return endless(&mut sending, &piece).await;
    }
    let content = if call == Call::Large { content::large(number) } else { content::of_answer(number) };
    let mut body = match (grpc, call) {
        (false, _) => content,
        (true, Call::Large) => {
            content.chunks(MESSAGE).map(answer::message).collect::<Vec<_>>().concat().into()
        }
        (true, _) => answer::message(&content),
    };
    if !grpc {
        response.headers_mut().insert(header::CONTENT_LENGTH, body.len().into());
    }
    *response.status_mut() = StatusCode::OK;
    let mut sending = respond.send_response(response, false).ok()?;
    if resets {
        body.truncate(body.len() / 2);
    }
    sending.send_data(body, !resets && !grpc).ok()?;
    if resets {
        line.reset().await;
    } else if grpc {
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", HeaderValue::from_static("0"));
        sending.send_trailers(trailers).ok()?;
    }
    Some(())
}

/// Sends pieces of a body until the caller is gone.
async fn endless(sending: &mut SendStream<Bytes>, piece: &Bytes) -> Option<()> {
    for _ in 0..HELD.as_millis() / PIECE_EVERY.as_millis() {
        sending.send_data(piece.clone(), false).ok()?;
        let reset = std::future::poll_fn(|context| sending.poll_reset(context));
        if timeout(PIECE_EVERY, reset).await.is_ok() {
            return None;
        }
    }
    Some(())
}

/// Waits until the caller resets the stream; says whether it did in time.
async fn gone(respond: &mut SendResponse<Bytes>, time: Duration) -> bool {
    tokio::select! {
        () = sleep(time) => false,
        _ = std::future::poll_fn(|context| respond.poll_reset(context)) => true,
    }
}
