//! When the next request is due.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::{Duration, Instant};

use anyhow::Context;
use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};
use tokio::io::AsyncReadExt;
use tokio::net::unix::pipe;
use tokio::sync::Notify;

/// How a stream learns when to send.
#[derive(Clone)]
pub(super) enum Pace {
    /// As soon as it has its answer.
    Closed,
    /// When a request is due by the clock, whichever stream is free.
    Open(Rc<Schedule>),
}

/// Requests that are due at a fixed rate.
pub(super) struct Schedule {
    interval: Duration,
    /// Taken when the clock starts.
    timer: RefCell<Option<pipe::Receiver>>,
    due: RefCell<VecDeque<Instant>>,
    more: Notify,
}

impl Pace {
    /// An open loop at `rate` requests per second; nothing is due before [`Pace::start`].
    pub(super) fn open(rate: u32) -> anyhow::Result<Self> {
        anyhow::ensure!(rate > 0, "a rate of 0 requests per second sends nothing; give at least 1");
        // A timer file, because the runtime's own timers have a granularity of one millisecond.
        let timer = timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::NONBLOCK | TimerfdFlags::CLOEXEC)
            .context("creating a timer")?;
        Ok(Self::Open(Rc::new(Schedule {
            interval: Duration::from_secs(1) / rate,
            // To a reader a timer is a pipe: each read gives eight bytes once there is something to give.
            timer: RefCell::new(Some(pipe::Receiver::from_owned_fd_unchecked(timer)?)),
            due: RefCell::default(),
            more: Notify::new(),
        })))
    }

    /// Starts the clock of an open loop.
    pub(super) fn start(&self) {
        if let Self::Open(schedule) = self
            && let Some(timer) = schedule.timer.take()
        {
            tokio::task::spawn_local(schedule.clone().run(timer));
        }
    }

    /// Waits until this stream shall send and returns since when the request has been due.
    pub(super) async fn next(&self) -> Instant {
        let Self::Open(schedule) = self else { return Instant::now() };
        loop {
            if let Some(due) = schedule.due.borrow_mut().pop_front() {
                return due;
            }
            schedule.more.notified().await;
        }
    }

    /// Requests that are due and unsent.
    pub(super) fn backlog(&self) -> u64 {
        match self {
            Self::Closed => 0,
            Self::Open(schedule) => schedule.due.borrow().len() as u64,
        }
    }
}

impl Schedule {
    async fn run(self: Rc<Self>, mut timer: pipe::Receiver) {
        let interval = Timespec {
            tv_sec: self.interval.as_secs().cast_signed(),
            tv_nsec: i64::from(self.interval.subsec_nanos()),
        };
        let timing = Itimerspec { it_interval: interval, it_value: interval };
        let mut due = Instant::now();
        timerfd_settime(&timer, TimerfdTimerFlags::empty(), &timing)
            .expect("the timer is valid and the interval between a nanosecond and a second");
        let mut expirations = [0; 8];
        while timer.read_exact(&mut expirations).await.is_ok() {
            for _ in 0..u64::from_ne_bytes(expirations) {
                due += self.interval;
                self.due.borrow_mut().push_back(due);
                self.more.notify_one();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_due_at_equal_distances_from_the_start() {
        let runtime = crate::local_runtime().unwrap();
        runtime.block_on(async {
            let pace = Pace::open(2000).unwrap();
            pace.start();
            let first = pace.next().await;
            for count in 1..20 {
                assert_eq!(pace.next().await, first + Duration::from_micros(500) * count);
            }
        });
    }
}
