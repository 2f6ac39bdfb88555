//! What one stream subscribes to and was told, for one type: decides what a response holds. No I/O.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use envoy_types::pb::google::rpc::Status;
use tokio::time::Instant;

use super::mailbox::{Dirty, DirtyMembers};
use super::source::{ClientContext, Lookup, Members, ResourceSource};
use crate::resource::{collection_of, is_collection};
use crate::{EncodedResource, Rejection, Version, rejection};

/// How many lookups one step does before others get the thread.
const LOOKUPS_MAX: usize = 1_000;

/// What the client was last told about a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// Nothing since it subscribed.
    Nothing,
    /// This version. Of a collection: that its members are complete.
    Version(Version),
    /// That there is none.
    Absent,
}

#[derive(Debug)]
struct Collection {
    told: Told,
    members: HashMap<Arc<str>, Version>,
}

/// Something to look at.
#[derive(Debug)]
enum Work {
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
}

/// A response that waits for its ACK.
#[derive(Debug)]
struct InFlight {
    nonce: u64,
    sent_at: Instant,
    names: Vec<Arc<str>>,
}

/// The outcome of an ACK or NACK.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is for no response that waits.
    Stale,
    Accepted {
        sent_at: Instant,
    },
    Refused {
        message: String,
        rejections: Vec<Rejection>,
    },
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

/// One type of one stream.
#[derive(Debug)]
pub(super) struct TypeState {
    type_url: Arc<str>,
    names: HashMap<Arc<str>, Told>,
    collections: HashMap<Arc<str>, Collection>,
    /// Taken from the mailbox and not looked at yet, because a response was full.
    backlog: VecDeque<Work>,
    in_flight: Option<InFlight>,
    rejected: HashMap<Arc<str>, String>,
    pub(super) history: History,
}

/// What happened on one type of one stream.
#[derive(Clone, Debug, Default)]
pub(super) struct History {
    pub(super) last_ack: Option<Instant>,
    pub(super) last_nack: Option<(Instant, String)>,
    pub(super) responses: u64,
    pub(super) resources: u64,
    pub(super) removals: u64,
}

impl TypeState {
    pub(super) fn new(type_url: Arc<str>) -> Self {
        Self {
            type_url,
            names: HashMap::new(),
            collections: HashMap::new(),
            backlog: VecDeque::new(),
            in_flight: None,
            rejected: HashMap::new(),
            history: History::default(),
        }
    }

    pub(super) fn type_url(&self) -> &Arc<str> {
        &self.type_url
    }

    /// Names and collections that are subscribed to.
    pub(super) fn subscriptions(&self) -> impl Iterator<Item = &Arc<str>> {
        self.names.keys().chain(self.collections.keys())
    }

    pub(super) fn subscription_count(&self) -> usize {
        self.names.len() + self.collections.len()
    }

    /// Begins a subscription, or begins it again: a client that subscribes has to be answered, even with what it was
    /// told before. What it was given stays known, so that it is told of what is removed. True
    /// if it did not subscribe to this before.
    pub(super) fn subscribe(&mut self, name: Arc<str>) -> bool {
        if is_collection(&name) {
            let fresh = !self.collections.contains_key(&name);
            let empty = || Collection { told: Told::Nothing, members: HashMap::new() };
            let collection = self.collections.entry(name).or_insert_with(empty);
            collection.told = Told::Nothing;
            collection.members.values_mut().for_each(|version| *version = Version::FOREIGN);
            fresh
        } else {
            let fresh = !self.names.contains_key(&name);
            let told = self.names.entry(name).or_insert(Told::Nothing);
            *told = match told {
                Told::Version(_) => Told::Version(Version::FOREIGN),
                Told::Nothing | Told::Absent => Told::Nothing,
            };
            fresh
        }
    }

    /// What a client that resumes still holds; called after its subscriptions.
    pub(super) fn resume(&mut self, name: &str, version: &str) {
        let version = version.parse().unwrap_or(Version::FOREIGN);
        if let Some(told) = self.names.get_mut(name) {
            *told = Told::Version(version);
        }
        if let Some(collection) = self.collections.get_mut(name) {
            collection.told = Told::Version(version);
        } else if let Some(collection) = self.collections.get_mut(collection_of(name).as_str()) {
            collection.members.insert(Arc::from(name), version);
        }
    }

    /// Ends a subscription; false if there was none.
    pub(super) fn unsubscribe(&mut self, name: &str) -> bool {
        self.rejected.remove(name);
        if let Some(collection) = self.collections.remove(name) {
            for member in collection.members.keys() {
                self.rejected.remove(member);
            }
            return true;
        }
        self.names.remove(name).is_some()
    }

    /// Takes an ACK or a NACK.
    pub(super) fn answer(&mut self, nonce: &str, error: Option<&Status>, now: Instant) -> Answer {
        let Some(in_flight) = self.in_flight.take_if(|waiting| nonce.parse() == Ok(waiting.nonce)) else {
            return Answer::Stale;
        };
        for name in &in_flight.names {
            self.rejected.remove(name);
        }
        let Some(error) = error else {
            self.history.last_ack = Some(now);
            return Answer::Accepted { sent_at: in_flight.sent_at };
        };
        let rejections = rejection::from_status(error, &in_flight.names);
        for rejection in &rejections {
            self.rejected.insert(Arc::clone(&rejection.name), rejection.reason.clone());
        }
        let message = Rejection::new("", error.message.clone()).reason;
        self.history.last_nack = Some((now, message.clone()));
        Answer::Refused { message, rejections }
    }

    /// When the response that waits for its ACK was sent.
    pub(super) fn waiting_since(&self) -> Option<Instant> {
        self.in_flight.as_ref().map(|in_flight| in_flight.sent_at)
    }

    /// How much was taken from the mailbox and not looked at.
    pub(super) fn backlog_len(&self) -> usize {
        self.backlog.len()
    }

    /// How many resources the client was given.
    pub(super) fn held(&self) -> usize {
        let named = self.names.values().filter(|told| matches!(told, Told::Version(_))).count();
        named + self.collections.values().map(|collection| collection.members.len()).sum::<usize>()
    }

    /// The resources that the client refused and that did not change since.
    pub(super) fn rejections(&self) -> Vec<Rejection> {
        self.rejected.iter().map(|(name, reason)| Rejection::new(Arc::clone(name), reason.clone())).collect()
    }

    /// The version of a resource that the client has accepted, if it accepted the last one it was sent.
    pub(super) fn accepted(&self, name: &str) -> Option<Version> {
        let waits = |in_flight: &InFlight| in_flight.names.iter().any(|sent| &**sent == name);
        if self.rejected.contains_key(name) || self.in_flight.as_ref().is_some_and(waits) {
            return None;
        }
        match self.names.get(name) {
            Some(Told::Version(version)) => Some(*version),
            Some(_) => None,
            None => self.collections.get(collection_of(name).as_str())?.members.get(name).copied(),
        }
        .filter(|version| *version != Version::FOREIGN)
    }

    /// Notes that a batch goes out under this nonce.
    pub(super) fn sent(&mut self, batch: &Batch, nonce: u64, now: Instant) {
        let names = batch.resources.iter().map(|resource| Arc::clone(resource.name())).collect();
        self.in_flight = Some(InFlight { nonce, sent_at: now, names });
        self.history.responses += 1;
        self.history.resources += batch.resources.len() as u64;
        self.history.removals += batch.removed.len() as u64;
    }

    /// Looks at what changed until a response is full, nothing is left, or others should get the thread. Does nothing
    /// while a response waits for its ACK.
    pub(super) fn build(&mut self, view: &View<'_>, mut take: impl FnMut() -> Dirty) -> Batch {
        let mut batch = Batch::default();
        if self.in_flight.is_some() {
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
                    self.backlog.push_back(Work::Collection(collection))
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
                if collection.members.remove(&name).is_some() {
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
                for (member, _) in collection.members.drain() {
                    self.rejected.remove(&member);
                }
                if collection.told != Told::Absent {
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
