//! Load over HTTP/1.1.

use weft_harness::load::Failure;
use weft_harness::load::http1::{Connection, request};

use super::Worker;

/// Keeps one connection busy for ever.
pub(super) async fn work(worker: Worker) {
    let request = request(&worker.authority);
    let slot = worker.tally.slot();
    let mut first = true;
    loop {
        let Ok(mut connection) = Connection::open(worker.connect).await else {
            worker.failed(Failure::Connect).await;
            continue;
        };
        if std::mem::take(&mut first) {
            worker.connected.add_permits(1);
        }
        loop {
            let due = worker.pace.next().await;
            slot.set(Some(due));
            let answer = connection.exchange(&request).await;
            slot.set(None);
            match answer {
                Ok(()) => worker.tally.answered(due),
                Err(failure) => {
                    worker.failed(failure).await;
                    break;
                }
            }
        }
    }
}
