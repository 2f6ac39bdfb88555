//! One attempt to connect, for all who wait for it.

use std::cell::RefCell;
use std::fmt;
use std::future::Future;
use std::rc::Rc;

use futures_util::FutureExt as _;
use futures_util::future::{LocalBoxFuture, Shared};
use weft_mesh::reason::Reason;

use crate::error::{BoxFailure, Failure};

/// What several requests need is opened once, and how that ends is the end of it for all who wait.
///
/// Otherwise each would try by itself, one after the other, and the last of many would wait for as many timeouts. The attempt
/// is a task of its own: it goes on when whoever began it goes away.
pub struct SharedAttempt<T: Clone>(Rc<RefCell<Option<Attempt<T>>>>);

type Attempt<T> = Shared<LocalBoxFuture<'static, Result<T, BoxFailure>>>;

impl<T: Clone + 'static> SharedAttempt<T> {
    /// How the attempt under way ends; if there is none, `open` begins one.
    pub async fn join<F>(&self, open: impl FnOnce() -> F) -> Result<T, BoxFailure>
    where
        F: Future<Output = Result<T, BoxFailure>> + 'static,
    {
        let attempt = self.attempt(open);
        attempt.await
    }

    /// Whether an attempt is under way.
    pub fn is_under_way(&self) -> bool {
        self.0.borrow().is_some()
    }

    fn attempt<F>(&self, open: impl FnOnce() -> F) -> Attempt<T>
    where
        F: Future<Output = Result<T, BoxFailure>> + 'static,
    {
        let mut under_way = self.0.borrow_mut();
        if let Some(attempt) = &*under_way {
            return attempt.clone();
        }
        let (own, opening) = (Rc::clone(&self.0), open());
        let task = tokio::task::spawn_local(async move {
            let opened = opening.await;
            // Before anybody hears of it: whoever comes later makes another attempt.
            let over = own.borrow_mut().take();
            drop(over);
            opened
        });
        let ended = task.map(|ended| {
            let lost = || Failure::unprocessed(Reason::ConnectFailed, "the attempt to connect was lost");
            ended.unwrap_or_else(|_| Err(lost()))
        });
        let attempt = ended.boxed_local().shared();
        *under_way = Some(attempt.clone());
        attempt
    }
}

impl<T: Clone> Default for SharedAttempt<T> {
    fn default() -> Self {
        Self(Rc::default())
    }
}

impl<T: Clone> fmt::Debug for SharedAttempt<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SharedAttempt").field(&self.0.borrow().is_some()).finish()
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;
    use std::time::Duration;

    use futures_util::future::join_all;
    use tokio::time::{Instant, sleep};

    use super::*;

    async fn local<F: Future>(test: F) -> F::Output {
        tokio::task::LocalSet::new().run_until(test).await
    }

    type Ended = Result<u32, BoxFailure>;

    #[tokio::test(start_paused = true)]
    async fn all_who_wait_share_one_attempt_and_its_failure() {
        local(async {
            let (opening, attempts, began) =
                (SharedAttempt::<u32>::default(), Rc::new(Cell::new(0)), Instant::now());
            let one = |succeeds: bool| {
                let attempts = Rc::clone(&attempts);
                opening.join(move || async move {
                    attempts.set(attempts.get() + 1);
                    sleep(Duration::from_secs(1)).await;
                    if succeeds {
                        Ok(attempts.get())
                    } else {
                        Err(Failure::unprocessed(Reason::ConnectFailed, "no"))
                    }
                })
            };
            let ended: Vec<Ended> = join_all((0..50).map(|_| one(false))).await;
            assert!(ended.iter().all(Result::is_err));
            assert_eq!((attempts.get(), began.elapsed().as_secs(), opening.is_under_way()), (1, 1, false));
            let ended: Vec<Ended> = join_all((0..50).map(|_| one(true))).await;
            assert!(ended.iter().all(|ended| matches!(ended, Ok(2))), "the next attempt is another");
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_goes_on_when_whoever_began_it_goes_away() {
        local(async {
            let opening = SharedAttempt::<u32>::default();
            let open = || async {
                sleep(Duration::from_secs(2)).await;
                Ok(7)
            };
            let first = tokio::time::timeout(Duration::from_secs(1), opening.join(open)).await;
            assert!(first.is_err() && opening.is_under_way());
            let second = opening.join(|| async { unreachable!("one is under way") }).await;
            assert!(matches!(second, Ok(7)));
            // Also when nobody waits: what it ended with is of no use to whoever comes much later.
            let _ = tokio::time::timeout(Duration::from_secs(1), opening.join(open)).await;
            sleep(Duration::from_secs(5)).await;
            assert!(!opening.is_under_way());
        })
        .await;
    }
}
