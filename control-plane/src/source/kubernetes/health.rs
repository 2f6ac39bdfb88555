//! Whether watches work: one that fails on and on while the API server answers others leaves this replica with what was, and
//! is to be seen.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use kube::runtime::watcher::Error;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::Watched;

/// Time for which a watch fails before it counts: what lasts for less is made up for by the next attempt.
const TOLERATED: Duration = Duration::from_mins(1);
/// A watch that failed is tried again sooner than this; after a longer time without a failure it works.
const QUIET: Duration = Duration::from_secs(20);

/// How watches are doing. Cheap to clone; all clones are the same.
#[derive(Clone, Debug, Default)]
pub(crate) struct WatchHealth(Arc<Mutex<State>>);

#[derive(Debug, Default)]
struct State {
    failing: BTreeMap<Watched, Failing>,
    unreachable: bool,
}

#[derive(Debug)]
struct Failing {
    since: Instant,
    last: Instant,
    error: String,
}

impl WatchHealth {
    /// A watch has told something.
    pub(super) fn works(&self, what: Watched) {
        self.0.lock().failing.remove(&what);
    }

    /// A watch has failed, and is about to be tried again.
    pub(super) fn failed(&self, what: Watched, error: &Error) {
        // The cluster does not have the kind any more, and so there is nothing to be heard of it.
        if code(error) == Some(404) {
            return self.works(what);
        }
        self.note(what, error.to_string());
    }

    fn note(&self, what: Watched, error: String) {
        let now = Instant::now();
        let mut state = self.0.lock();
        let before = state.failing.get(&what).filter(|failing| now - failing.last < QUIET);
        let since = before.map_or(now, |failing| failing.since);
        state.failing.insert(what, Failing { since, last: now, error });
    }

    /// Whether the API server answers at all. When it does again, watches have time to begin anew.
    pub(super) fn api_server(&self, answers: bool) {
        let mut state = self.0.lock();
        if std::mem::replace(&mut state.unreachable, !answers) && answers {
            state.failing.clear();
        }
    }

    /// The watches that have failed for long, by kind, and why; none while nobody answers.
    pub(crate) fn failing(&self) -> Vec<(String, String)> {
        let now = Instant::now();
        let state = self.0.lock();
        let long = |failing: &Failing| now - failing.last < QUIET && now - failing.since >= TOLERATED;
        let found = state.failing.iter().filter(|(_, failing)| !state.unreachable && long(failing));
        found
            .map(|(what, failing)| {
                let seconds = (now - failing.since).as_secs();
                (what.to_string(), format!("for {seconds} s: {}", failing.error))
            })
            .collect()
    }
}

/// The status of the answer that ended a watch.
fn code(error: &Error) -> Option<u16> {
    let of = |error: &kube::Error| match error {
        kube::Error::Api(status) => Some(status.code),
        _ => None,
    };
    match error {
        Error::InitialListFailed(error) | Error::WatchStartFailed(error) | Error::WatchFailed(error) => {
            of(error)
        }
        Error::WatchError(status) => Some(status.code),
        Error::NoResourceVersion => None,
    }
}

#[cfg(test)]
mod tests {
    use tokio::time::sleep;

    use super::*;
    use weft_resource::Kind;

    const SERVICES: Watched = Watched::Kind(Kind::Service);

    async fn fail(health: &WatchHealth, times: u32) {
        for _ in 0..times {
            health.note(SERVICES, "forbidden".to_owned());
            sleep(Duration::from_secs(5)).await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_goes_on_failing_is_told_of() {
        let health = WatchHealth::default();
        fail(&health, 11).await;
        assert_eq!(health.failing(), []);
        fail(&health, 2).await;
        assert_eq!(health.failing(), [("Service".to_owned(), "for 65 s: forbidden".to_owned())]);
        health.works(SERVICES);
        assert_eq!(health.failing(), []);
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_is_quiet_again_works_although_nothing_is_told() {
        let health = WatchHealth::default();
        fail(&health, 14).await;
        assert_eq!(health.failing().len(), 1);
        sleep(QUIET).await;
        assert_eq!(health.failing(), []);
        fail(&health, 2).await;
        assert_eq!(health.failing(), [], "that is another time");
    }

    #[tokio::test(start_paused = true)]
    async fn no_watch_is_to_blame_for_an_api_server_that_does_not_answer() {
        let health = WatchHealth::default();
        health.api_server(false);
        fail(&health, 20).await;
        assert_eq!(health.failing(), []);
        health.api_server(true);
        fail(&health, 2).await;
        assert_eq!(health.failing(), [], "it has time to begin anew");
        fail(&health, 12).await;
        assert_eq!(health.failing().len(), 1);
    }
}
