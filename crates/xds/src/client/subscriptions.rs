//! What the rest of the program wants to be subscribed to, until the client's task takes note of it.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// Begun (true) and ended (false) subscriptions by type and name; the last word on a name counts.
pub(super) type Wishes = HashMap<Arc<str>, HashMap<Arc<str>, bool>>;

/// The wishes that the task has not seen: at most one for each name.
#[derive(Debug, Default)]
pub(super) struct Wanted {
    wishes: Mutex<Wishes>,
    wake: Notify,
}

impl Wanted {
    pub(super) fn take(&self) -> Wishes {
        mem::take(&mut self.wishes.lock())
    }

    /// Waits until there may be wishes.
    pub(super) async fn changed(&self) {
        self.wake.notified().await;
    }

    fn wish(&self, type_url: &Arc<str>, name: &str, subscribe: bool) {
        self.wishes.lock().entry(Arc::clone(type_url)).or_default().insert(name.into(), subscribe);
        self.wake.notify_one();
    }
}

/// The subscriptions of one type. Cheap to clone, usable from any thread; all clones are the same.
///
/// A name is subscribed to or not; it isn't counted how often.
#[derive(Clone, Debug)]
pub struct Subscriptions {
    type_url: Arc<str>,
    wanted: Arc<Wanted>,
}

impl Subscriptions {
    pub(super) fn new(type_url: Arc<str>, wanted: Arc<Wanted>) -> Self {
        Self { type_url, wanted }
    }

    /// The type URL of these resources.
    pub fn type_url(&self) -> &str {
        &self.type_url
    }

    /// Begins a subscription to a resource, or to a collection (`prefix/*`). The handler hears of it once the server
    /// has answered: with the resource, or with its absence.
    pub fn subscribe(&self, name: &str) {
        self.wanted.wish(&self.type_url, name, true);
    }

    /// Ends a subscription. The handler is told to forget what no other subscription covers.
    pub fn unsubscribe(&self, name: &str) {
        self.wanted.wish(&self.type_url, name, false);
    }
}
