//! Speaking HTTP/1: what is sent stands in a script, what comes back is read alongside.

use std::cell::RefCell;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::sync::Notify;
use tokio::time::{sleep, timeout};

use crate::differential::case::{Script, Step};
use crate::differential::message::{Body, End, Framing, Got, Reply, Version};
use crate::differential::recorder::{PROBE, PROBED};
use crate::differential::wire::{Head, Out, Wire, sides};

/// How long a body waits for the 100 that it asked for (RFC 9110 section 10.1.1: not for ever).
const CONTINUE: Duration = Duration::from_millis(500);
/// Long enough for what was sent to be read by itself.
const PAUSE: Duration = Duration::from_millis(2);
/// How long a peer that has said that it closes may take to do so.
const CLOSING: Duration = Duration::from_secs(1);

/// Plays `script` and says how the connection stands afterwards.
pub(super) async fn exchange(stream: TcpStream, script: &Script, got: &RefCell<Got>) -> End {
    let (mut wire, mut out) = sides(stream);
    let heard = Notify::new();
    let received = {
        let sending = send(&mut out, script, &heard);
        let receiving = receive(&mut wire, script, got, &heard);
        tokio::pin!(sending, receiving);
        // A peer that answers early and closes ends the sending too.
        tokio::select! {
            received = &mut receiving => received,
            _sent = &mut sending => receiving.await,
        }
    };
    if let Err(end) = received {
        return end;
    }
    if let Some(end) = tunnel(&mut wire, &mut out, script, got).await {
        return end;
    }
    if is_closing(got) {
        return match timeout(CLOSING, wire.fill()).await {
            Ok(Err(end)) => end,
            Ok(Ok(())) => surplus(got),
            Err(_) => End::Open,
        };
    }
    if wire.has_more() {
        return surplus(got);
    }
    if script.probes { probe(&mut wire, &mut out, got).await } else { End::Open }
}

async fn send(out: &mut Out, script: &Script, heard: &Notify) -> Result<(), End> {
    for step in &script.steps {
        match step {
            Step::Send(bytes) => out.write(bytes).await?,
            Step::Await => _ = timeout(CONTINUE, heard.notified()).await,
            Step::Pause => sleep(PAUSE).await,
            Step::HalfClose => out.half_close().await,
        }
    }
    Ok(())
}

async fn receive(wire: &mut Wire, script: &Script, got: &RefCell<Got>, bell: &Notify) -> Result<(), End> {
    for to_head in &script.heads {
        let mut interim = Vec::new();
        let head = loop {
            let head = wire.head().await?;
            bell.notify_one();
            match status(&head) {
                status @ (100 | 102..=199) => interim.push(status),
                _ => break head,
            }
        };
        let status = status(&head);
        let framing = match status {
            101 | 204 | 304 => Framing::None,
            _ if *to_head => Framing::None,
            _ => head.framing(Framing::Close),
        };
        let version = head.line.split(|byte| *byte == b' ').next().unwrap_or_default();
        let (version, mut faults) = (Version::of(version), head.faults);
        if status == 0 {
            faults.push("the status line has no status");
        }
        let reply = Reply { interim, version, status, fields: head.fields, body: Body::default(), faults };
        got.borrow_mut().replies.push(reply);
        let body = RefCell::new(Body { framing, ..Body::default() });
        let read = wire.body(&body).await;
        if let Some(reply) = got.borrow_mut().replies.last_mut() {
            reply.body = body.into_inner();
            reply.faults.extend(read.as_deref().unwrap_or_default());
        }
        read?;
        if status == 101 {
            break;
        }
    }
    Ok(())
}

fn status(head: &Head) -> u16 {
    let word = head.line.split(|byte| *byte == b' ').nth(1).unwrap_or_default();
    std::str::from_utf8(word).ok().and_then(|word| word.parse().ok()).unwrap_or_default()
}

/// Whether the last answer says that it is the last.
fn is_closing(got: &RefCell<Got>) -> bool {
    got.borrow().replies.last().is_some_and(|reply| {
        reply.body.framing == Framing::Close
            || reply.fields.names("connection", "close")
            || (reply.version == Version::Http10 && !reply.fields.names("connection", "keep-alive"))
    })
}

fn surplus(got: &RefCell<Got>) -> End {
    if let Some(reply) = got.borrow_mut().replies.last_mut() {
        reply.faults.push("something follows the answer");
    }
    End::Open
}

/// Sends through a tunnel, if one was agreed, and closes it.
async fn tunnel(wire: &mut Wire, out: &mut Out, script: &Script, got: &RefCell<Got>) -> Option<End> {
    if got.borrow().replies.last()?.status != 101 {
        return None;
    }
    if let Err(end) = out.write(&script.tunnel).await {
        return Some(end);
    }
    out.half_close().await;
    let mut returned = Vec::new();
    let end = loop {
        returned.append(&mut wire.take());
        if let Err(end) = wire.fill().await {
            break end;
        }
    };
    got.borrow_mut().tunnel = Some(returned);
    Some(end)
}

/// Tries another request on the connection.
async fn probe(wire: &mut Wire, out: &mut Out, got: &RefCell<Got>) -> End {
    if let Err(end) = out.write(format!("GET {PROBE} HTTP/1.1\r\nHost: one\r\n\r\n").as_bytes()).await {
        return end;
    }
    let head = match wire.head().await {
        Ok(head) => head,
        Err(end) => return end,
    };
    let body = RefCell::new(Body { framing: head.framing(Framing::Close), ..Body::default() });
    if let Err(end) = wire.body(&body).await {
        return end;
    }
    if status(&head) == 200 && body.into_inner().bytes == PROBED { End::Kept } else { surplus(got) }
}
