//! Shedding load before the machine dies of it.
//!
//! Two things are measured, while there are requests: how much memory the process takes, against what it may take, and
//! how late a timer of the worker fires, which is how long everything else waits there, too. From a threshold on, a part of
//! the new requests is refused, marked as not processed, so that callers' proxies send them elsewhere; so is a part of
//! new opaque connections. When memory is used up, connections wait in the kernel's queue instead. What is under way goes
//! on, and the kubelet's probes and the admin server are on another thread.

mod memory;

use std::cell::Cell;
use std::rc::Rc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;
use weft_mesh::reason::Reason;
use weft_mesh::shedding::{ShedPolicy, Shedder, StandingDelay, is_shed};

use self::memory::Memory;
use crate::error::{BoxFailure, Failure};
use crate::observe::stats::{ShedCause, Stats, resident_memory};
use crate::runtime::clock::now;

pub use self::memory::{Used, group_limit};

/// Time between two looks at how late timers are: five of them show a delay that stands.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Looks without a request after which a worker looks no more: one that is idle must not be woken for nothing.
const IDLE_LOOKS: u32 = 25;
/// Requests of gRPC's health checks begin with this path: whoever asks decides about the life of the workload by it.
const HEALTH_CHECKS: &str = "/grpc.health.v1.Health/";

/// From which pressure on load is shed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Settings {
    /// Bytes that the process may take; `None`: what its control group may, if that is limited.
    pub memory_limit: Option<u64>,
    /// Percentage of these from which a part is shed; 0: none ever is.
    pub memory_percent: u8,
    /// How late timers may be before a part is shed; zero: none ever is.
    pub delay: Duration,
}

impl Default for Settings {
    /// A tenth of the memory is enough for what is under way to end. A delay of a quarter of a second that stands for a
    /// tenth is no burst: somebody who waits for that at each hop had better be told to ask elsewhere.
    fn default() -> Self {
        Self { memory_limit: None, memory_percent: 90, delay: Duration::from_millis(250) }
    }
}

/// Everything is shed when only this part of the room is left in which a part is shed.
const MEMORY_LEFT: f64 = 0.2;
/// Everything is shed when timers are so many times later than when a part is.
const DELAY_FULL: f64 = 4.0;

/// A part from 0 to 1 that threads share.
#[derive(Debug, Default)]
struct Part(AtomicU32);

impl Part {
    fn get(&self) -> f64 {
        f32::from_bits(self.0.load(Ordering::Relaxed)).into()
    }

    fn set(&self, part: f64) {
        self.0.store((part as f32).to_bits(), Ordering::Relaxed);
    }
}

/// What is measured of all threads, and what is to be shed.
#[derive(Debug, Default)]
pub struct Overload {
    memory: OnceLock<Memory>,
    delay: OnceLock<ShedPolicy>,
    workers: Mutex<Vec<Arc<Lateness>>>,
}

/// How late the timers of one worker are.
#[derive(Debug, Default)]
struct Lateness {
    part: Part,
    micros: AtomicU64,
}

impl Overload {
    /// Puts settings in force. To be called once, before there are requests.
    pub fn set(&self, settings: Settings) -> Result<(), weft_mesh::Error> {
        let limit = settings.memory_limit.or_else(group_limit).filter(|_| settings.memory_percent != 0);
        if let Some(limit) = limit {
            let begin = f64::from(settings.memory_percent) / 100.0;
            let policy = ShedPolicy::new(begin, begin + (1.0 - begin) * (1.0 - MEMORY_LEFT))?;
            self.limit_memory(limit, policy, resident_memory);
        }
        if !settings.delay.is_zero() {
            let begin = settings.delay.as_secs_f64();
            self.limit_delay(ShedPolicy::new(begin, begin * DELAY_FULL)?);
        }
        Ok(())
    }

    /// Sheds by memory: by the part that `used` says is used of `limit` bytes. To be called once.
    pub fn limit_memory(&self, limit: u64, policy: ShedPolicy, used: Used) {
        let _ = self.memory.set(Memory::new(limit, policy, used, now()));
    }

    /// Sheds by how late timers are, in seconds. To be called once.
    pub fn limit_delay(&self, policy: ShedPolicy) {
        let _ = self.delay.set(policy);
    }

    /// The part of what is new that is shed for each cause, of the worker that sheds most.
    pub(crate) fn parts(&self) -> [(ShedCause, f64); 2] {
        let late = self.workers.lock().iter().map(|worker| worker.part.get()).fold(0.0, f64::max);
        [(ShedCause::Memory, self.memory_part()), (ShedCause::LoopDelay, late)]
    }

    /// How late the timers of the worker are that is latest.
    pub(crate) fn delay(&self) -> Duration {
        let workers = self.workers.lock();
        let micros = workers.iter().map(|worker| worker.micros.load(Ordering::Relaxed)).max();
        Duration::from_micros(micros.unwrap_or_default())
    }

    /// Whether there is so little memory left that connections are not even taken.
    pub(crate) fn defers_connections(&self) -> bool {
        let Some(memory) = self.memory.get() else { return false };
        if memory.part.get() < 1.0 {
            return false;
        }
        // Nobody else looks while no request comes.
        memory.look(now());
        memory.part.get() >= 1.0
    }

    fn memory_part(&self) -> f64 {
        self.memory.get().map_or(0.0, |memory| memory.part.get())
    }

    fn is_on(&self) -> bool {
        self.memory.get().is_some() || self.delay.get().is_some()
    }
}

/// What one worker measures of itself.
#[derive(Debug)]
pub struct Watch {
    overload: Arc<Overload>,
    own: Arc<Lateness>,
    looking: Cell<bool>,
    busy: Cell<bool>,
}

impl Watch {
    /// Nothing is measured yet.
    pub fn new(overload: &Arc<Overload>) -> Rc<Self> {
        let own = Arc::<Lateness>::default();
        overload.workers.lock().push(Arc::clone(&own));
        let overload = Arc::clone(overload);
        Rc::new(Self { overload, own, looking: Cell::new(false), busy: Cell::new(false) })
    }
}

/// Refuses a request or a connection that is to be shed, by what a worker sees.
pub(crate) fn admit(watch: &Rc<Watch>, stats: &Stats) -> Result<(), BoxFailure> {
    let overload = &watch.overload;
    if !overload.is_on() {
        return Ok(());
    }
    watch.busy.set(true);
    if !watch.looking.replace(true) {
        if let Some(memory) = overload.memory.get() {
            memory.look(now());
        }
        tokio::task::spawn_local(look(Rc::clone(watch)));
    }
    let (memory, late) = (overload.memory_part(), watch.own.part.get());
    if memory <= 0.0 && late <= 0.0 {
        return Ok(());
    }
    let (part, cause, what) = if memory >= late {
        (memory, ShedCause::Memory, "has used up its memory")
    } else {
        (late, ShedCause::LoopDelay, "does not keep up with its work")
    };
    if !is_shed(part, fastrand::u64(..)) {
        return Ok(());
    }
    stats.shed(cause);
    Err(Failure::internal(
        Reason::Overloaded,
        format!("this proxy {what}; another endpoint may take the request"),
    ))
}

/// As [`admit`], for a request with this path: health checks are never shed.
pub(crate) fn admit_request(watch: &Rc<Watch>, stats: &Stats, path: &str) -> Result<(), BoxFailure> {
    if path.starts_with(HEALTH_CHECKS) { Ok(()) } else { admit(watch, stats) }
}

/// Looks at how late timers are, and at the memory, until there has been no request for a while.
async fn look(watch: Rc<Watch>) {
    let overload = &watch.overload;
    let mut shedder = overload.delay.get().copied().map(Shedder::new);
    let mut standing = StandingDelay::default();
    let mut idle = 0;
    while idle < IDLE_LOOKS {
        let due = Instant::now() + LOOK_EVERY;
        tokio::time::sleep_until(due).await;
        let delay = standing.sample(due.elapsed());
        watch.own.micros.store(delay.as_micros() as u64, Ordering::Relaxed);
        if let Some(shedder) = &mut shedder {
            watch.own.part.set(shedder.part(delay.as_secs_f64()));
        }
        if let Some(memory) = overload.memory.get() {
            memory.look(now());
        }
        idle = if watch.busy.replace(false) { 0 } else { idle + 1 };
    }
    watch.own.part.set(0.0);
    watch.own.micros.store(0, Ordering::Relaxed);
    watch.looking.set(false);
}
