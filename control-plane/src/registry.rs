//! Workloads that register themselves: who is there, who is expected back, and who is gone.

mod journal;

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};
use weft_identity::Revoked;
use weft_mesh::name::Identity;

use self::journal::Journal;
use crate::discovery::Discovery;
use crate::index::{Health, Workload};

/// Most workloads that may be registered: a bound on memory, far above what one control plane is for.
const WORKLOADS_MAX: usize = 100_000;
/// Most of one identity, so that one of them alone takes no place from the others.
const OF_IDENTITY_MAX: usize = WORKLOADS_MAX / 20;

/// The registered workloads.
///
/// Each registration is written down before anyone hears of it, and stays until its workload withdraws or its grace is
/// over. So a control plane that was killed knows at its restart what its clients know, and takes nothing from them
/// before the workloads had time to come back.
pub(crate) struct Registry {
    state: Mutex<State>,
    discovery: Arc<Discovery>,
    grace: Duration,
    /// A registration was left behind, so that there may be an earlier end to wait for.
    left: Notify,
}

struct State {
    workloads: HashMap<Arc<str>, Registration>,
    /// How many workloads each identity has.
    of_identity: HashMap<Identity, usize>,
    journal: Journal,
    last_session: u64,
}

struct Registration {
    workload: Arc<Workload>,
    held: Held,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Held {
    /// By this session.
    By(u64),
    /// By nobody, until then.
    Until(Instant),
}

/// A stream that holds a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Session(u64);

/// Why a workload can't register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// There are too many.
    Full,
    /// There are too many of this identity.
    FullOfIdentity,
}

/// A workload and whether its stream is open.
#[derive(Clone, Debug)]
pub(crate) struct Registered {
    pub(crate) workload: Arc<Workload>,
    pub(crate) connected: bool,
}

impl Registry {
    /// Opens what was written down in a file. The workloads in it are there at once, and have `startup_grace` to come
    /// back.
    pub(crate) fn open(
        path: &Path,
        discovery: Arc<Discovery>,
        grace: Duration,
        startup_grace: Duration,
    ) -> Self {
        let (journal, workloads) = Journal::open(path);
        let held = Held::Until(Instant::now() + startup_grace);
        let mut of_identity = HashMap::new();
        let workloads: HashMap<Arc<str>, Registration> = workloads
            .into_values()
            .map(|workload| {
                discovery.set_workload(&workload);
                *of_identity.entry(workload.identity.clone()).or_default() += 1;
                (Arc::clone(&workload.id), Registration { workload, held })
            })
            .collect();
        if !workloads.is_empty() {
            tracing::info!(
                workloads = workloads.len(),
                ?startup_grace,
                "registrations from before the restart wait for their workloads"
            );
        }
        let state = Mutex::new(State { workloads, of_identity, journal, last_session: 0 });
        Self { state, discovery, grace, left: Notify::new() }
    }

    /// How long a registration outlives its stream.
    pub(crate) fn grace(&self) -> Duration {
        self.grace
    }

    /// Registers a workload for a stream. A stream that held the same id before holds it no more.
    pub(crate) fn register(&self, workload: Workload) -> Result<Session, Refusal> {
        let workload = Arc::new(workload);
        let mut state = self.state.lock();
        let returning = match state.workloads.get(&workload.id) {
            Some(same) => matches!(same.held, Held::Until(_)),
            None if state.workloads.len() >= WORKLOADS_MAX => return Err(Refusal::Full),
            None => {
                let of_identity = state.of_identity.entry(workload.identity.clone()).or_default();
                if *of_identity >= OF_IDENTITY_MAX {
                    return Err(Refusal::FullOfIdentity);
                }
                *of_identity += 1;
                false
            }
        };
        state.last_session += 1;
        let session = state.last_session;
        let known = state.workloads.get(&workload.id).is_some_and(|known| *known.workload == *workload);
        let registration = Registration { workload: Arc::clone(&workload), held: Held::By(session) };
        state.workloads.insert(Arc::clone(&workload.id), registration);
        if !known {
            state.write(Some(&workload), &workload.id);
            // Within the lock, so that two changes of one workload are told in their order.
            self.discovery.set_workload(&workload);
        }
        tracing::info!(workload = %workload.id, identity = %workload.identity, returning, "workload registered");
        Ok(Session(session))
    }

    /// Changes whether a workload takes requests, if the session still holds it.
    pub(crate) fn set_health(&self, id: &str, session: Session, health: Health) {
        let mut state = self.state.lock();
        let Some(registration) = state.held_by(id, session) else { return };
        if registration.workload.health == health {
            return;
        }
        let workload = Arc::new(Workload { health, ..(*registration.workload).clone() });
        registration.workload = Arc::clone(&workload);
        state.write(Some(&workload), id);
        tracing::info!(workload = id, ?health, "workload changed");
        self.discovery.set_workload(&workload);
    }

    /// Ends a registration at once, if the session still holds it.
    pub(crate) fn withdraw(&self, id: &str, session: Session) {
        let mut state = self.state.lock();
        if state.held_by(id, session).is_some() {
            self.remove(&mut state, id, "workload withdrew");
        }
    }

    /// The stream broke: its workload may come back within the grace.
    pub(crate) fn leave(&self, id: &str, session: Session) {
        let grace = self.grace;
        let mut state = self.state.lock();
        if let Some(registration) = state.held_by(id, session) {
            registration.held = Held::Until(Instant::now() + grace);
            tracing::info!(workload = id, ?grace, "workload's stream ended; waiting for it to come back");
            self.left.notify_one();
        }
    }

    /// Ends at once what was registered by what is revoked now.
    pub(crate) fn revoke(&self, revoked: &Revoked) {
        let mut state = self.state.lock();
        let is_revoked = |workload: &Workload| {
            // A stream that was let in showed a certificate of a time that is not kept here; its connection is judged by
            // it. What is left of the registration is judged as if it were new.
            revoked.check(&workload.identity, workload.token.as_deref(), Some(SystemTime::now())).is_err()
        };
        let over = state.workloads.iter().filter(|(_, registration)| is_revoked(&registration.workload));
        let over: Vec<Arc<str>> = over.map(|(id, _)| Arc::clone(id)).collect();
        for id in over {
            self.remove(&mut state, &id, "workload's identity or token was revoked");
        }
    }

    /// Ends registrations whose grace is over. Never returns.
    pub(crate) async fn reap(&self) {
        loop {
            let next = self.expire(Instant::now());
            tokio::select! {
                () = async { sleep_until(next.unwrap_or_else(Instant::now)).await }, if next.is_some() => {}
                () = self.left.notified() => {}
            }
        }
    }

    /// Ends what is over by now; gives the next end.
    fn expire(&self, now: Instant) -> Option<Instant> {
        let mut state = self.state.lock();
        let mut next: Option<Instant> = None;
        let mut over = Vec::new();
        for (id, registration) in &state.workloads {
            match registration.held {
                Held::Until(end) if end <= now => over.push(Arc::clone(id)),
                Held::Until(end) => next = Some(next.map_or(end, |next| next.min(end))),
                Held::By(_) => {}
            }
        }
        for id in over {
            self.remove(&mut state, &id, "workload did not come back");
        }
        next
    }

    fn remove(&self, state: &mut State, id: &str, why: &'static str) {
        if let Some(Registration { workload, .. }) = state.workloads.remove(id)
            && let Some(of_identity) = state.of_identity.get_mut(&workload.identity)
        {
            *of_identity -= 1;
            if *of_identity == 0 {
                state.of_identity.remove(&workload.identity);
            }
        }
        state.write(None, id);
        self.discovery.remove_workload(id);
        tracing::info!(workload = id, "{why}");
    }

    /// Whether an identity has registered a workload by this name.
    pub(crate) fn is_registered(&self, identity: &Identity, name: &str) -> bool {
        self.state.lock().workloads.contains_key(&Workload::id(identity, name))
    }

    /// All workloads, by id.
    pub(crate) fn workloads(&self) -> Vec<Registered> {
        let state = self.state.lock();
        let mut all: Vec<Registered> = state
            .workloads
            .values()
            .map(|registration| Registered {
                workload: Arc::clone(&registration.workload),
                connected: matches!(registration.held, Held::By(_)),
            })
            .collect();
        drop(state);
        all.sort_by(|a, b| a.workload.id.cmp(&b.workload.id));
        all
    }
}

impl State {
    fn held_by(&mut self, id: &str, session: Session) -> Option<&mut Registration> {
        self.workloads.get_mut(id).filter(|registration| registration.held == Held::By(session.0))
    }

    fn write(&mut self, workload: Option<&Workload>, id: &str) {
        let all = self.workloads.values().map(|registration| &*registration.workload);
        self.journal.write(workload, id, all);
    }
}

#[cfg(test)]
mod tests;
