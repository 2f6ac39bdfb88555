//! Attempts that overlap: another endpoint is asked as well while the first does not answer, and the first answer is taken.
//! What is not needed any more is dropped, which resets its stream, or closes its connection of HTTP/1.

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use weft_mesh::hedge::HedgePolicy;
use weft_mesh::retry::{AttemptState, GiveUp, Pushback, is_answer};

use super::{Ended, Plan, Tries};
use crate::error::BoxFailure;
use crate::http::exchange::Exchange;
use crate::http::replay::Replay;
use crate::observe::stats::HedgeOutcome;
use crate::runtime::clock::now;
use crate::runtime::worker::Worker;
use crate::upstream::service::Attempt;

/// Whether another attempt is made when the delay is over.
enum Beside {
    Made(Attempt),
    /// Not yet: the client still sends the request.
    Later,
    Never,
}

impl Plan {
    /// Makes an attempt, and others beside it while there is no answer. Gives the attempt that was answered first, or the
    /// last one that failed.
    pub(super) async fn hedged(
        &self,
        policy: HedgePolicy,
        worker: &Rc<Worker>,
        parts: &http::request::Parts,
        replay: &Replay,
        tries: &mut Tries,
        exchange: &mut Exchange,
    ) -> Result<(Attempt, Ended), BoxFailure> {
        let first = self.service.attempt(self.wish(tries))?;
        exchange.way.sent_to(&first.peer);
        let first_number = tries.retries;
        tries.noted = true;
        tries.endpoints.push(Arc::clone(&first.peer.endpoint().id));
        let mut running = FuturesUnordered::new();
        running.push(self.one_of(first, parts, replay, first_number));
        let mut next = pin!(tokio::time::sleep(policy.delay()));
        let mut more = true;
        loop {
            tokio::select! {
                biased;
                Some((attempt, ended, number)) = running.next() => {
                    let answered = is_answer(self.retry.as_ref(), self.verdict(&ended, &attempt));
                    if answered || running.is_empty() {
                        if answered && number > first_number {
                            worker.shared.stats.hedged(HedgeOutcome::Won);
                        }
                        exchange.way.peer = Some(Rc::clone(&attempt.peer));
                        return Ok((attempt, ended));
                    }
                    match ended.ok().and_then(|(response, _)| Pushback::read(response.headers())) {
                        Some(Pushback::Never) => more = false,
                        Some(Pushback::After(after)) => next.as_mut().reset(tokio::time::Instant::now() + after),
                        None => {}
                    }
                }
                () = next.as_mut(), if more => {
                    match self.beside(policy, worker, replay, tries, exchange) {
                        Beside::Made(attempt) => {
                            running.push(self.one_of(attempt, parts, replay, tries.retries));
                        }
                        Beside::Later => {}
                        Beside::Never => more = false,
                    }
                    next.as_mut().reset(tokio::time::Instant::now() + policy.delay());
                }
            }
        }
    }

    /// One attempt among several, which counts as the given retry.
    async fn one_of(
        &self,
        mut attempt: Attempt,
        parts: &http::request::Parts,
        replay: &Replay,
        number: u32,
    ) -> (Attempt, Ended, u32) {
        let mut parts = parts.clone();
        let ended = self.attempt(&mut attempt, &mut parts, replay, number).await;
        (attempt, ended, number)
    }

    fn beside(
        &self,
        policy: HedgePolicy,
        worker: &Worker,
        replay: &Replay,
        tries: &mut Tries,
        exchange: &mut Exchange,
    ) -> Beside {
        let replayable = replay.can_replay();
        if replayable && !replay.is_whole() {
            return Beside::Later;
        }
        if !self.service.has_untried(&tries.endpoints) {
            return Beside::Never;
        }
        let Ok(attempt) = self.service.attempt(self.wish(tries)) else { return Beside::Never };
        let endpoint = &attempt.peer.endpoint().id;
        let retries = tries.retries - tries.moves;
        let attempted = AttemptState { retries, elsewhere: true, replayable, deadline: self.deadline };
        let now = now();
        let decision = policy.decide(attempted, || self.service.take_retry(now), now);
        if let Err(why) = decision {
            if why == GiveUp::Budget {
                worker.shared.stats.hedged(HedgeOutcome::OverBudget);
            }
            return Beside::Never;
        }
        tries.endpoints.push(Arc::clone(endpoint));
        tries.retries += 1;
        worker.shared.stats.hedged(HedgeOutcome::Made);
        exchange.way.sent_to(&attempt.peer);
        exchange.way.hedges += 1;
        exchange.retried();
        Beside::Made(attempt)
    }
}
