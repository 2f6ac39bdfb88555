//! Drives a connection to its end.

use std::future::Future;
use std::pin::{Pin, pin};
use std::time::Duration;

use tokio::time::{Instant, MissedTickBehavior, interval_at};

/// How long a request may stand still is counted in looks: a timer for each would cost every request for what hardly one
/// needs.
const LOOK_EVERY: Duration = Duration::from_mins(1);

/// Drives a connection to its end, which begins when `draining` is ready. Once a minute it is looked at; `None`: it was
/// given up then.
pub(super) async fn drive<C: Future>(
    mut connection: Pin<&mut C>,
    shut_down: impl Fn(Pin<&mut C>),
    draining: impl Future<Output = ()>,
    look: impl Fn() -> bool,
) -> Option<C::Output> {
    let mut draining = pin!(draining);
    let mut drains = false;
    let mut looks = interval_at(Instant::now() + LOOK_EVERY, LOOK_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            biased;
            served = connection.as_mut() => return Some(served),
            () = draining.as_mut(), if !drains => {
                drains = true;
                shut_down(connection.as_mut());
            }
            _ = looks.tick() => if look() {
                return None;
            },
        }
    }
}
