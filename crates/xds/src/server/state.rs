//! What one stream subscribes to and was told, for one type. No I/O.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use envoy_types::pb::google::rpc::Status;
use tokio::time::Instant;

use super::build::{Batch, Work};
use crate::resource::{collection_of, is_collection};
use crate::{Rejection, Version, rejection};

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

/// What the client was told of a collection.
#[derive(Debug)]
pub(super) struct Collection {
    pub(super) told: Told,
    pub(super) members: HashMap<Arc<str>, Version>,
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
    /// All of it was accepted.
    Accepted { sent_at: Instant },
    /// These of it were refused.
    Refused { message: String, rejections: Vec<Rejection> },
}

/// One type of one stream.
#[derive(Debug)]
pub(super) struct TypeState {
    pub(super) type_url: Arc<str>,
    pub(super) names: HashMap<Arc<str>, Told>,
    pub(super) collections: HashMap<Arc<str>, Collection>,
    /// Taken from the mailbox and not looked at yet, because a response was full.
    pub(super) backlog: VecDeque<Work>,
    in_flight: Option<InFlight>,
    pub(super) rejected: HashMap<Arc<str>, String>,
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
    /// told before. What it was given stays known, so that it is told of what is removed. True if it did not subscribe
    /// to this before.
    pub(super) fn subscribe(&mut self, name: Arc<str>) -> bool {
        if is_collection(&name) {
            let fresh = !self.collections.contains_key(&name);
            self.begin_again(&name);
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

    /// Forgets what was left to look at in a collection: a subscription that begins looks at all of it, and what the
    /// one before it had left must not complete it.
    fn begin_again(&mut self, collection: &str) {
        self.backlog.retain(|work| work.collection() != Some(collection));
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

    /// A resource to which the client no longer subscribes by name may be covered by a collection, which then has to
    /// say whether it is a member: gives that collection.
    pub(super) fn leave_to_collection(&mut self, name: &str) -> Option<Arc<str>> {
        if is_collection(name) {
            return None;
        }
        let collection_name = collection_of(name);
        let (shared, _) = self.collections.get_key_value(collection_name.as_str())?;
        let shared = Arc::clone(shared);
        let collection = self.collections.get_mut(&shared)?;
        collection.members.insert(name.into(), Version::FOREIGN);
        Some(shared)
    }

    /// Ends a subscription; false if there was none.
    pub(super) fn unsubscribe(&mut self, name: &str) -> bool {
        self.rejected.remove(name);
        if let Some(collection) = self.collections.remove(name) {
            self.begin_again(name);
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
}
