//! Watches on the API server: all that is to be followed in a cluster is followed by this.
//!
//! What is not heard while the API server is gone is what proxies go wrong by, once it is back. So a watch is tried more
//! often than clients of Kubernetes commonly do, who wait for up to a minute; and a connection whose other end has vanished
//! without a word is given up after about a minute, rather than after five.

use std::fmt::Debug;
use std::time::Duration;

use futures_util::Stream;
use kube::Resource;
use kube::api::Api;
use kube::runtime::utils::Backoff as Delays;
use kube::runtime::watcher::{Config, Error, Event};
use kube::runtime::{WatchStreamExt as _, watcher};
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use weft_mesh::backoff::{Backoff, Jitter};

/// Seconds after which the API server ends a watch, which then goes on from where it was. A connection that is silent for
/// a little longer is taken for dead.
const WATCH_SECONDS: u32 = 60;
/// Delays between attempts. All watches fail at once, and so are spread.
const BACKOFF: Backoff = Backoff {
    first: Duration::from_millis(500),
    longest: Duration::from_secs(5),
    jitter: Jitter::Around(0.5),
};
/// Time without a failure after which the delays begin anew. An attempt that does well is not enough: each begins well.
const FORGIVEN: Duration = Duration::from_secs(30);

/// What there is, and then what changes. An error is followed by another attempt; the stream does not end.
pub(crate) fn watched<K>(api: Api<K>, config: Config) -> impl Stream<Item = Result<Event<K>, Error>> + Send
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + 'static,
{
    watcher(api, config.timeout(WATCH_SECONDS)).backoff(Patience::default())
}

/// How long to wait after a failure.
#[derive(Debug, Default)]
struct Patience {
    failures: u32,
    last: Option<Instant>,
}

impl Iterator for Patience {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        if self.last.is_some_and(|last| last.elapsed() > FORGIVEN) {
            self.failures = 0;
        }
        self.last = Some(Instant::now());
        let delay = BACKOFF.delay(self.failures, fastrand::u64(..));
        self.failures = self.failures.saturating_add(1);
        Some(delay)
    }
}

impl Delays for Patience {
    fn reset(&mut self) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_watch_is_tried_again_ever_less_often_but_every_few_seconds() {
        let mut patience = Patience::default();
        let delays: Vec<Duration> = patience.by_ref().take(20).collect();
        assert!(delays[0] <= Duration::from_millis(750), "{delays:?}");
        assert!(delays.iter().all(|delay| *delay <= Duration::from_millis(7500)), "{delays:?}");
        assert!(delays[5..].iter().all(|delay| *delay >= Duration::from_millis(2500)), "{delays:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn delays_begin_anew_once_nothing_has_failed_for_a_while() {
        let mut patience = Patience::default();
        let late = patience.by_ref().nth(9).unwrap();
        patience.reset();
        let still = patience.next().unwrap();
        assert!(late.min(still) >= Duration::from_millis(2500), "{late:?} {still:?}");
        tokio::time::advance(FORGIVEN + Duration::from_secs(1)).await;
        assert!(patience.next().unwrap() <= Duration::from_millis(750));
    }
}
