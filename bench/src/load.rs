//! The load generator: closed or open loop over HTTP/1.1 or HTTP/2, on one thread, checking every answer.

use std::rc::Rc;
use std::time::Duration;

use tokio::time::{sleep, timeout};
use weft_harness::load::Failure;
use weft_harness::protocol::Protocol;

use crate::options::Load;
use pace::Pace;
use tally::{Phase, Tally};

mod http1;
mod http2;
mod pace;
mod tally;

pub(crate) use tally::{Latency, Outcome};

/// The line that says that counting has begun. The [`Outcome`] as JSON follows when it has ended.
pub(crate) const MEASURING: &str = "measuring";

/// A server that answers no connection within this time is not under load but absent.
const CONNECT_DEADLINE: Duration = Duration::from_secs(10);

/// Sends load as `options` say and prints [`MEASURING`] and then the [`Outcome`].
pub(crate) async fn run(options: &Load) -> anyhow::Result<()> {
    let pace = match options.rate {
        None => Pace::Closed,
        Some(rate) => Pace::open(rate)?,
    };
    anyhow::ensure!(
        weft_harness::load::http2::request(&options.authority).is_some(),
        "{:?} isn't an authority",
        options.authority
    );
    let tally = Rc::new(Tally::new());
    let connected = Rc::new(tokio::sync::Semaphore::new(0));
    for _ in 0..options.connections {
        let worker = Worker {
            connect: options.connect,
            authority: options.authority.clone(),
            pace: pace.clone(),
            tally: tally.clone(),
            connected: connected.clone(),
        };
        match options.protocol {
            Protocol::H1 => tokio::task::spawn_local(http1::work(worker)),
            Protocol::H2 => tokio::task::spawn_local(http2::work(worker, options.streams)),
        };
    }
    let all = u32::try_from(options.connections)?;
    if timeout(CONNECT_DEADLINE, connected.acquire_many(all)).await.is_err() {
        anyhow::bail!(
            "only {} of {all} connections to {} opened within {CONNECT_DEADLINE:?}",
            connected.available_permits(),
            options.connect
        );
    }
    pace.start();
    sleep(Duration::from_secs(options.warmup.into())).await;
    tally.enter(Phase::Counting);
    println!("{MEASURING}");
    sleep(Duration::from_secs(options.seconds.into())).await;
    tally.enter(Phase::Over);
    println!("{}", serde_json::to_string(&tally.outcome(pace.backlog()))?);
    Ok(())
}

/// What each connection's task holds.
pub(crate) struct Worker {
    connect: std::net::SocketAddr,
    authority: String,
    pace: Pace,
    tally: Rc<Tally>,
    /// Gets a permit when the connection is open for the first time.
    connected: Rc<tokio::sync::Semaphore>,
}

impl Worker {
    /// Counts a failed connection, and waits so that a dead peer isn't hammered.
    async fn failed(&self, failure: Failure) {
        self.tally.failed(failure);
        sleep(Duration::from_millis(50)).await;
    }
}
