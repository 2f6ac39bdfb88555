//! Recording HTTP/2. What is no well-formed HTTP/2 is refused by the `h2` crate, so that direct requests meet a strict peer.

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use bytes::Bytes;
use h2::server::SendResponse;
use h2::{Reason, RecvStream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use tokio::io::join;

use super::{PROBE, PROBED, State, UnderWay};
use crate::differential::answer::{Answer, Fault};
use crate::differential::case::{Backend, Coding, cut};
use crate::differential::message::{Arrived, Body, Fields, Framing, Version};
use crate::differential::wire::{Out, Wire};

/// Largest head that is read.
const MAX_HEAD: u32 = 1 << 20;

/// Serves a connection until it ends.
pub(super) async fn serve(wire: Wire, out: Out, backend: Backend, state: Rc<State>) {
    let io = join(wire.into_reader(), out.into_inner());
    let mut builder = h2::server::Builder::new();
    builder.max_header_list_size(MAX_HEAD).enable_connect_protocol();
    let Ok(mut connection) = builder.handshake::<_, Bytes>(io).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        tokio::task::spawn_local(exchange(request, respond, backend, Rc::clone(&state)));
    }
}

async fn exchange(
    request: Request<RecvStream>,
    respond: SendResponse<Bytes>,
    backend: Backend,
    state: Rc<State>,
) {
    let (head, body) = request.into_parts();
    let arrived = Arrived {
        backend,
        version: Version::Http2,
        method: head.method.as_str().into(),
        target: head.uri.path_and_query().map_or_else(Vec::new, |target| target.as_str().into()),
        authority: head.uri.authority().map(|authority| authority.as_str().into()),
        fields: fields(&head.headers),
        body: RefCell::new(Body { framing: Framing::Stream, ..Body::default() }),
        faults: RefCell::default(),
        finished: Cell::new(false),
    };
    if arrived.target == PROBE.as_bytes() {
        let _client_gone = send(respond, &Answer { body: PROBED.to_vec(), ..Answer::default() }, false);
        return;
    }
    let to_head = head.method == http::Method::HEAD;
    let answer = state.answer();
    let under_way = state.record(arrived);
    if answer.early {
        let _client_gone = send(respond, &answer, to_head);
        read_body(body, &under_way).await;
    } else {
        read_body(body, &under_way).await;
        let _client_gone = send(respond, &answer, to_head);
    }
}

async fn read_body(mut body: RecvStream, under_way: &UnderWay) {
    let recorded = &under_way.arrived.body;
    while let Some(data) = body.data().await {
        let Ok(data) = data else { return };
        recorded.borrow_mut().bytes.extend(&data);
        let _closed = body.flow_control().release_capacity(data.len());
    }
    let Ok(trailers) = body.trailers().await else { return };
    let mut recorded = recorded.borrow_mut();
    recorded.trailers = trailers.map(|trailers| fields(&trailers)).unwrap_or_default();
    recorded.complete = true;
}

/// Queues the whole answer; flow control lets it leave.
fn send(mut respond: SendResponse<Bytes>, answer: &Answer, to_head: bool) -> Result<(), h2::Error> {
    if answer.fault == Fault::CloseBefore {
        respond.send_reset(Reason::INTERNAL_ERROR);
        return Ok(());
    }
    for (status, fields) in &answer.interim {
        respond.send_informational(response(*status, fields))?;
    }
    let mut head = response(answer.status, &answer.fields);
    if answer.coding == Coding::Length && !matches!(answer.status, 101 | 204) {
        head.headers_mut().insert(http::header::CONTENT_LENGTH, HeaderValue::from(answer.body.len()));
    }
    let has_body = answer.may_have_body(to_head) && answer.coding != Coding::None;
    let trailers = headers(&answer.trailers);
    let ends = !has_body || (answer.body.is_empty() && trailers.is_empty());
    let mut stream = respond.send_response(head, ends && answer.fault == Fault::Nothing)?;
    if let Fault::CloseAfter(most) | Fault::ResetAfter(most) = answer.fault {
        let sent = answer.body.get(..most).unwrap_or(&answer.body);
        stream.send_data(Bytes::copy_from_slice(sent), false)?;
        stream.send_reset(Reason::INTERNAL_ERROR);
        return Ok(());
    }
    if ends {
        return Ok(());
    }
    let pieces = cut(&answer.body, &answer.pieces);
    let last = pieces.len().saturating_sub(1);
    for (index, piece) in pieces.into_iter().enumerate() {
        stream.send_data(Bytes::copy_from_slice(piece), index == last && trailers.is_empty())?;
    }
    if !trailers.is_empty() {
        stream.send_trailers(trailers)?;
    }
    Ok(())
}

fn response(status: u16, fields: &Fields) -> Response<()> {
    let mut response = Response::new(());
    *response.status_mut() = http::StatusCode::from_u16(status).unwrap_or_default();
    *response.version_mut() = http::Version::HTTP_2;
    *response.headers_mut() = headers(fields);
    response
}

/// As the `http` crate has them; what it can't have is left out.
pub(crate) fn headers(fields: &Fields) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for (name, value) in &fields.0 {
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(name), HeaderValue::from_bytes(value)) {
            headers.append(name, value);
        }
    }
    headers
}

/// As they are compared.
pub(crate) fn fields(headers: &HeaderMap) -> Fields {
    let fields = headers.iter().map(|(name, value)| (name.as_str().into(), value.as_bytes().into()));
    Fields(fields.collect())
}
