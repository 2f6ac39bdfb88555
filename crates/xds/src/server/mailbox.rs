//! What has changed for one stream and was not looked at yet: a set, so that a slow client costs no more than what it
//! subscribes to, however often that changes.

use std::collections::{HashMap, HashSet};
use std::mem;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// How many changed members of one collection are remembered by name. Beyond it the collection is read as a whole
/// and compared, which also bounds what members that come and go leave behind while a client doesn't listen.
pub(super) const MEMBERS_MAX: usize = 1_000;

/// The changes of one type.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Dirty {
    /// Resources that are subscribed to by name.
    pub(super) names: HashSet<Arc<str>>,
    /// Collections.
    pub(super) collections: HashMap<Arc<str>, DirtyMembers>,
}

/// The changes of one collection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum DirtyMembers {
    /// Read all of it.
    All,
    /// Only these changed.
    Named(HashSet<Arc<str>>),
}

impl Dirty {
    /// How many entries it holds.
    pub(super) fn len(&self) -> usize {
        let members = |dirty: &DirtyMembers| match dirty {
            DirtyMembers::All => 1,
            DirtyMembers::Named(names) => names.len(),
        };
        self.names.len() + self.collections.values().map(members).sum::<usize>()
    }

    fn is_empty(&self) -> bool {
        self.names.is_empty() && self.collections.is_empty()
    }
}

/// The changes of one stream, by type.
#[derive(Debug, Default)]
pub(super) struct Mailbox {
    dirty: Mutex<HashMap<Arc<str>, Dirty>>,
    wake: Notify,
}

impl Mailbox {
    /// A resource that is subscribed to by name changed.
    pub(super) fn name(&self, type_url: &Arc<str>, name: &Arc<str>) {
        self.with(type_url, |dirty| {
            dirty.names.insert(Arc::clone(name));
        });
    }

    /// A collection has to be read as a whole.
    pub(super) fn collection(&self, type_url: &Arc<str>, collection: &Arc<str>) {
        self.with(type_url, |dirty| {
            dirty.collections.insert(Arc::clone(collection), DirtyMembers::All);
        });
    }

    /// One member of a collection changed.
    pub(super) fn member(&self, type_url: &Arc<str>, collection: &Arc<str>, name: &Arc<str>) {
        self.with(type_url, |dirty| {
            let members = dirty
                .collections
                .entry(Arc::clone(collection))
                .or_insert_with(|| DirtyMembers::Named(HashSet::new()));
            if let DirtyMembers::Named(names) = members {
                names.insert(Arc::clone(name));
                if names.len() > MEMBERS_MAX {
                    *members = DirtyMembers::All;
                }
            }
        });
    }

    /// Takes everything of a type.
    pub(super) fn take(&self, type_url: &str) -> Dirty {
        self.dirty.lock().get_mut(type_url).map(mem::take).unwrap_or_default()
    }

    /// How many changes of a type wait.
    pub(super) fn waiting(&self, type_url: &str) -> usize {
        self.dirty.lock().get(type_url).map_or(0, Dirty::len)
    }

    /// Waits until something changed since the last wait.
    pub(super) async fn changed(&self) {
        self.wake.notified().await;
    }

    fn with(&self, type_url: &Arc<str>, change: impl FnOnce(&mut Dirty)) {
        let mut types = self.dirty.lock();
        let dirty = types.entry(Arc::clone(type_url)).or_default();
        let first = dirty.is_empty();
        change(dirty);
        drop(types);
        if first {
            self.wake.notify_one();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_that_is_told_again_is_one_change() {
        let mailbox = Mailbox::default();
        let (kind, name) = (Arc::from("t"), Arc::from("a"));
        for _ in 0..10_000 {
            mailbox.name(&kind, &name);
        }
        assert_eq!(mailbox.waiting("t"), 1);
        assert_eq!(mailbox.take("t").names.len(), 1);
        assert_eq!(mailbox.waiting("t"), 0);
    }

    #[test]
    fn many_changed_members_become_one_changed_collection() {
        let mailbox = Mailbox::default();
        let (kind, collection) = (Arc::from("t"), Arc::from("c/*"));
        for index in 0..=MEMBERS_MAX {
            assert_eq!(mailbox.waiting("t"), index);
            mailbox.member(&kind, &collection, &format!("c/{index}").into());
        }
        assert_eq!(mailbox.take("t").collections.remove("c/*"), Some(DirtyMembers::All));
    }
}
