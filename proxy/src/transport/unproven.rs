//! Connections of which it is not known yet whose they are: nothing has come, or its TLS handshake is not finished.
//!
//! Anybody can open any number of them. They have a share of the places, and never all of it for long: where one more
//! would be too many, the oldest of them ends. A caller takes some milliseconds to show who it is, in which nobody can open
//! so many.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use tokio::task::AbortHandle;

use super::limit::Places;
use crate::observe::stats::Direction;
use crate::runtime::shared::Shared;

/// The strangers of one worker, by when they came.
#[derive(Debug, Default)]
pub struct UnprovenConnections {
    next: Cell<u64>,
    open: RefCell<BTreeMap<u64, Option<AbortHandle>>>,
}

impl UnprovenConnections {
    /// One more, for whom the oldest ends where there are as many as may be.
    pub fn enter(self: &Rc<Self>, most: usize) -> UnprovenConnection {
        let number = self.next.replace(self.next.get() + 1);
        let oldest = {
            let mut open = self.open.borrow_mut();
            open.insert(number, None);
            if open.len() > most { open.pop_first() } else { None }
        };
        if let Some((_, Some(oldest))) = oldest {
            oldest.abort();
        }
        UnprovenConnection { among: Rc::clone(self), number }
    }

    /// The task that serves a stranger, unless that is none any more.
    pub fn served_by(&self, number: u64, task: AbortHandle) {
        if let Some(entry) = self.open.borrow_mut().get_mut(&number) {
            *entry = Some(task);
        }
    }
}

/// A connection that counts among the strangers until it is dropped.
#[derive(Debug)]
pub struct UnprovenConnection {
    among: Rc<UnprovenConnections>,
    number: u64,
}

impl UnprovenConnection {
    /// Which one it is.
    pub fn number(&self) -> u64 {
        self.number
    }
}

impl Drop for UnprovenConnection {
    fn drop(&mut self) {
        self.among.open.borrow_mut().remove(&self.number);
    }
}

/// How a connection stands with the places that there are.
#[derive(Debug, Default)]
pub struct Standing {
    stranger: Option<(UnprovenConnection, Arc<Places>)>,
}

impl Standing {
    /// That of one more stranger.
    pub fn of(stranger: UnprovenConnection, places: Arc<Places>) -> Self {
        Self { stranger: Some((stranger, places)) }
    }

    /// It is known whose the connection is.
    pub fn proven(&mut self) {
        self.stranger = None;
    }

    /// Nobody proves anything on the connection; whether there is a place for it nevertheless. A refusal is counted.
    pub fn unproven(&mut self, shared: &Shared) -> bool {
        let Some((_, places)) = self.stranger.take() else { return true };
        let taken = places.take_unproven(&shared.connections);
        if !taken {
            shared.stats.refused_connection(Direction::Inbound);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_oldest_stranger_ends_where_one_more_would_be_too_many() {
        let strangers = Rc::<UnprovenConnections>::default();
        let tasks: Vec<_> = (0..4).map(|_| tokio::spawn(std::future::pending::<()>())).collect();
        let enter = |task: usize| {
            let stranger = strangers.enter(2);
            strangers.served_by(stranger.number(), tasks[task].abort_handle());
            stranger
        };
        let first = enter(0);
        let _second = enter(1);
        // It has shown who it is.
        drop(first);
        let _third = enter(2);
        assert_eq!(strangers.open.borrow().len(), 2);
        let _fourth = enter(3);
        tokio::task::yield_now().await;
        let ended: Vec<_> = tasks.iter().map(tokio::task::JoinHandle::is_finished).collect();
        assert_eq!(ended, [false, true, false, false]);
        assert_eq!(strangers.open.borrow().len(), 2);
    }
}
