//! Recording HTTP/1.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use tokio::time::sleep;

use super::{PROBE, PROBED, State};
use crate::differential::answer::{Answer, Fault};
use crate::differential::case::{Backend, Coding};
use crate::differential::message::{Arrived, Body, End, Framing, Version};
use crate::differential::wire::{Head, Out, Wire};

/// Time between the pieces of a slow answer.
const SLOWLY: Duration = Duration::from_millis(3);

/// What becomes of the connection after an exchange.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Next {
    Keep,
    Close,
    Reset,
}

/// Serves a connection until either side closes it.
pub(super) async fn serve(mut wire: Wire, mut out: Out, backend: Backend, state: Rc<State>) {
    while let Ok(head) = wire.head().await {
        match exchange(&mut wire, &mut out, head, backend, &state).await {
            Ok(Next::Keep) => {}
            Ok(Next::Reset) => return out.reset_at_end(),
            Ok(Next::Close) | Err(_) => return,
        }
    }
}

async fn exchange(
    wire: &mut Wire,
    out: &mut Out,
    head: Head,
    backend: Backend,
    state: &Rc<State>,
) -> Result<Next, End> {
    let arrived = arrival(head, backend);
    if arrived.target.ends_with(PROBE.as_bytes()) {
        let answer =
            [format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", PROBED.len()).as_bytes(), PROBED]
                .concat();
        out.write(&answer).await?;
        return Ok(Next::Keep);
    }
    let answer = state.answer();
    let under_way = state.record(arrived);
    let arrived = &under_way.arrived;
    if answer.early {
        let next = respond(wire, out, &answer, arrived).await?;
        read_body(wire, arrived).await?;
        return Ok(next);
    }
    if arrived.fields.names("expect", "100-continue") && arrived.version == Version::Http11 {
        out.write(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
    }
    read_body(wire, arrived).await?;
    respond(wire, out, &answer, arrived).await
}

async fn read_body(wire: &mut Wire, arrived: &Arrived) -> Result<(), End> {
    let faults = wire.body(&arrived.body).await?;
    arrived.faults.borrow_mut().extend(faults);
    Ok(())
}

fn arrival(head: Head, backend: Backend) -> Arrived {
    let mut words = head.line.splitn(2, |byte| *byte == b' ');
    let method = words.next().unwrap_or_default().to_vec();
    let rest = words.next().unwrap_or_default();
    let (target, version) = match rest.iter().rposition(|byte| *byte == b' ') {
        Some(space) => (rest.get(..space).unwrap_or_default(), rest.get(space + 1..).unwrap_or_default()),
        None => (rest, &b""[..]),
    };
    let mut faults = head.faults.clone();
    if Version::of(version) == Version::Other {
        faults.push("the request line names no version of HTTP/1");
    }
    if head.fields.all("host").count() != 1 && version != b"HTTP/1.0" {
        faults.push("not exactly one Host");
    }
    Arrived {
        backend,
        version: Version::of(version),
        method,
        target: target.to_vec(),
        authority: head.fields.get("host").map(<[u8]>::to_vec),
        body: RefCell::new(Body { framing: head.framing(Framing::None), ..Body::default() }),
        fields: head.fields,
        faults: RefCell::new(faults),
        finished: Cell::new(false),
    }
}

async fn respond(wire: &mut Wire, out: &mut Out, answer: &Answer, arrived: &Arrived) -> Result<Next, End> {
    if let Some(raw) = &answer.raw {
        out.write(raw).await?;
        return Ok(Next::Close);
    }
    if answer.fault == Fault::CloseBefore {
        return Ok(Next::Close);
    }
    out.write(&answer.head()).await?;
    if answer.status == 101 {
        return echo(wire, out).await;
    }
    if answer.may_have_body(arrived.method == b"HEAD") {
        for piece in answer.body() {
            if answer.slow {
                sleep(SLOWLY).await;
            }
            out.write(&piece).await?;
        }
    }
    Ok(match answer.fault {
        Fault::ResetAfter(_) => Next::Reset,
        Fault::CloseAfter(_) => Next::Close,
        _ if answer.closes || answer.coding == Coding::Close || answer.version == "HTTP/1.0" => Next::Close,
        _ if arrived.fields.names("connection", "close") => Next::Close,
        _ if arrived.version != Version::Http11 && !arrived.fields.names("connection", "keep-alive") => {
            Next::Close
        }
        _ => Next::Keep,
    })
}

/// The server's side of a tunnel: gives back what it gets.
async fn echo(wire: &mut Wire, out: &mut Out) -> Result<Next, End> {
    loop {
        if !wire.has_more() {
            match wire.fill().await {
                Ok(()) => {}
                Err(End::Closed) => {
                    out.half_close().await;
                    return Ok(Next::Close);
                }
                Err(end) => return Err(end),
            }
        }
        let bytes = wire.take();
        out.write(&bytes).await?;
    }
}
