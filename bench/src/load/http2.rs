//! Load over HTTP/2.

use std::rc::Rc;

use bytes::Bytes;
use h2::client::SendRequest;
use tokio::task::JoinSet;
use weft_harness::load::Failure;
use weft_harness::load::http2::{exchange, open, request};

use super::Worker;

/// Keeps `streams` streams of one connection busy for ever.
pub(super) async fn work(worker: Worker, streams: usize) {
    let worker = Rc::new(worker);
    let mut first = true;
    loop {
        let Some(sender) = open(worker.connect).await else {
            worker.failed(Failure::Connect).await;
            continue;
        };
        if std::mem::take(&mut first) {
            worker.connected.add_permits(1);
        }
        let mut tasks = JoinSet::new();
        for _ in 0..streams {
            tasks.spawn_local(stream(worker.clone(), sender.clone()));
        }
        while tasks.join_next().await.is_some() {}
    }
}

/// Sends one request after the other until the connection is lost.
async fn stream(worker: Rc<Worker>, mut sender: SendRequest<Bytes>) {
    let slot = worker.tally.slot();
    let Some(request) = request(&worker.authority) else { return };
    loop {
        let due = worker.pace.next().await;
        slot.set(Some(due));
        let Ok(mut ready) = sender.ready().await else {
            slot.set(None);
            return worker.failed(Failure::Closed).await;
        };
        let answer = exchange(&mut ready, request.clone()).await;
        sender = ready;
        slot.set(None);
        match answer {
            Ok(()) => worker.tally.answered(due),
            Err(failure) => worker.failed(failure).await,
        }
    }
}
