//! Decides what the next response of a type holds. No I/O.

use std::collections::HashSet;
use std::sync::Arc;

use super::mailbox::{Dirty, DirtyMembers};
use super::source::{ClientContext, Lookup, Members, ResourceSource};
use super::state::{Told, TypeState};
use crate::EncodedResource;

/// How many lookups one step does before others get the thread.
const LOOKUPS_MAX: usize = 1_000;

/// Something to look at.
#[derive(Debug)]
pub(super) enum Work {
    Name(Arc<str>),
    Member { collection: Arc<str>, name: Arc<str> },
    Collection(Arc<str>),
    Complete(Arc<str>),
}

impl Work {
    fn name(&self) -> &str {
        match self {
            Self::Name(name) | Self::Member { name, .. } | Self::Collection(name) | Self::Complete(name) => {
                name
            }
        }
    }

    /// The collection that it is about.
    pub(super) fn collection(&self) -> Option<&str> {
        match self {
            Self::Name(_) => None,
            Self::Member { collection, .. } | Self::Collection(collection) | Self::Complete(collection) => {
                Some(collection)
            }
        }
    }
}

/// The content of a response.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) resources: Vec<Arc<EncodedResource>>,
    pub(super) removed: Vec<Arc<str>>,
    pub(super) bytes: usize,
    /// What is in it: a name may be in a response once, or it would not be clear which came last.
    names: HashSet<Arc<str>>,
}

impl Batch {
    pub(super) fn is_empty(&self) -> bool {
        self.resources.is_empty() && self.removed.is_empty()
    }

    /// Whether there is room for something about this name.
    fn takes(&self, name: &str, view: &View<'_>) -> bool {
        self.bytes < view.batch_bytes && !self.names.contains(name)
    }

    fn push(&mut self, resource: Arc<EncodedResource>) {
        self.bytes += resource.wire().len();
        self.names.insert(Arc::clone(resource.name()));
        self.resources.push(resource);
    }

    fn remove(&mut self, name: Arc<str>) {
        self.bytes += name.len();
        self.names.insert(Arc::clone(&name));
        self.removed.push(name);
    }
}

/// The resources of one type for one client.
pub(super) struct View<'a> {
    pub(super) source: &'a dyn ResourceSource,
    pub(super) client: &'a ClientContext,
    /// A response is closed once its resources have this many bytes.
    pub(super) batch_bytes: usize,
}

impl TypeState {
    /// Looks at what changed until a response is full, nothing is left, or others should get the thread. Does nothing
    /// while a response waits for its ACK.
    pub(super) fn build(&mut self, view: &View<'_>, mut take: impl FnMut() -> Dirty) -> Batch {
        let mut batch = Batch::default();
        if self.waiting_since().is_some() {
            return batch;
        }
        for _ in 0..LOOKUPS_MAX {
            if batch.bytes >= view.batch_bytes {
                break;
            }
            if self.backlog.is_empty() {
                self.refill(take());
            }
            let Some(work) = self.backlog.pop_front_if(|work| !batch.names.contains(work.name())) else {
                break;
            };
            self.look_at(work, view, &mut batch);
        }
        batch
    }

    fn refill(&mut self, dirty: Dirty) {
        self.backlog.extend(dirty.names.into_iter().map(Work::Name));
        for (collection, members) in dirty.collections {
            // Until a collection is complete at the client, single changes can't complete it.
            let complete =
                self.collections.get(&collection).is_some_and(|c| matches!(c.told, Told::Version(_)));
            match members {
                DirtyMembers::Named(names) if complete => {
                    let member = |name| Work::Member { collection: Arc::clone(&collection), name };
                    self.backlog.extend(names.into_iter().map(member));
                }
                DirtyMembers::Named(_) | DirtyMembers::All => {
                    self.backlog.push_back(Work::Collection(collection));
                }
            }
        }
    }

    fn look_at(&mut self, work: Work, view: &View<'_>, batch: &mut Batch) {
        match work {
            Work::Name(name) => self.look_at_name(name, view, batch),
            Work::Member { collection, name } => self.look_at_member(&collection, name, view, batch),
            Work::Collection(collection) => self.look_at_collection(collection, view, batch),
            Work::Complete(name) => {
                let Some(collection) = self.collections.get_mut(&name) else { return };
                if !matches!(collection.told, Told::Version(_)) {
                    let complete = EncodedResource::complete(name);
                    collection.told = Told::Version(complete.version());
                    batch.push(Arc::new(complete));
                }
            }
        }
    }

    fn look_at_name(&mut self, name: Arc<str>, view: &View<'_>, batch: &mut Batch) {
        let Some(told) = self.names.get_mut(&name) else { return };
        match view.source.resource(view.client, &self.type_url, &name) {
            Lookup::Found(resource) if *told == Told::Version(resource.version()) => {}
            Lookup::Found(resource) => {
                *told = Told::Version(resource.version());
                batch.push(resource);
            }
            Lookup::Absent if *told == Told::Absent => {}
            Lookup::Absent => {
                *told = Told::Absent;
                self.rejected.remove(&name);
                batch.remove(name);
            }
            Lookup::Pending => {}
        }
    }

    fn look_at_member(&mut self, collection: &str, name: Arc<str>, view: &View<'_>, batch: &mut Batch) {
        let Some(collection) = self.collections.get_mut(collection) else { return };
        match view.source.resource(view.client, &self.type_url, &name) {
            Lookup::Found(resource) => {
                if collection.members.insert(name, resource.version()) != Some(resource.version()) {
                    batch.push(resource);
                }
            }
            Lookup::Absent => {
                // Who subscribes to it by its name as well is told by that.
                if collection.members.remove(&name).is_some() && !self.names.contains_key(&name) {
                    self.rejected.remove(&name);
                    batch.remove(name);
                }
            }
            Lookup::Pending => {}
        }
    }

    fn look_at_collection(&mut self, name: Arc<str>, view: &View<'_>, batch: &mut Batch) {
        let Some(collection) = self.collections.get_mut(&name) else { return };
        let found = match view.source.members(view.client, &self.type_url, &name) {
            Members::Found(found) => found,
            Members::Pending => return,
            Members::Absent => {
                // The collection's name stands for its members, but for those that the client has from elsewhere.
                let apart = collection.told == Told::Absent;
                for (member, _) in collection.members.drain() {
                    self.rejected.remove(&member);
                    if apart && !self.names.contains_key(&member) {
                        batch.remove(member);
                    }
                }
                if !apart {
                    collection.told = Told::Absent;
                    batch.remove(name);
                }
                return;
            }
        };
        // What doesn't fit is looked up again when there is room: what is sent then is as fresh as it can be.
        let later =
            |member: &Arc<str>| Work::Member { collection: Arc::clone(&name), name: Arc::clone(member) };
        let current: HashSet<&str> = found.iter().map(|member| &**member.name()).collect();
        collection.members.retain(|member, _| {
            if current.contains(&**member) {
                return true;
            }
            if self.names.contains_key(member) {
                return false;
            }
            if !batch.takes(member, view) {
                self.backlog.push_back(later(member));
                return true;
            }
            self.rejected.remove(member);
            batch.remove(Arc::clone(member));
            false
        });
        for member in found {
            if collection.members.get(member.name()) == Some(&member.version()) {
                continue;
            }
            if !batch.takes(member.name(), view) {
                self.backlog.push_back(later(member.name()));
                continue;
            }
            collection.members.insert(Arc::clone(member.name()), member.version());
            batch.push(member);
        }
        self.backlog.push_back(Work::Complete(name));
    }
}
