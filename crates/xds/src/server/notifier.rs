//! Who subscribes to what, and telling exactly those that something changed.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::RwLock;

use super::mailbox::Mailbox;
use crate::resource::{collection_of, is_collection};

/// Tells the streams of a server what changed. Cheap to clone; all clones are the same.
///
/// Change the source first and tell it then: a stream reads the source after it was told.
#[derive(Clone, Debug, Default)]
pub struct Notifier {
    index: Arc<RwLock<Index>>,
}

#[derive(Debug, Default)]
struct Index {
    types: HashMap<Arc<str>, HashMap<Arc<str>, Subscribers>>,
}

/// Those who subscribe to one name, by growing id: a new stream comes last and a leaving one is found by halving.
#[derive(Debug, Default)]
struct Subscribers(Vec<(u64, Arc<Mailbox>)>);

impl Notifier {
    /// A notifier that nobody has subscribed to.
    pub fn new() -> Self {
        Self::default()
    }

    /// Resources or collections of a type changed, appeared or disappeared.
    ///
    /// The name of a member reaches those who subscribe to it and those who subscribe to its collection; it costs them
    /// one lookup. The name of a collection (`prefix/*`) says that the collection appeared or disappeared, or that too
    /// much of it changed to name: its members are read and compared.
    pub fn changed<'a>(&self, type_url: &str, names: impl IntoIterator<Item = &'a str>) {
        let index = self.index.read();
        let Some((type_url, subscribed)) = index.types.get_key_value(type_url) else { return };
        for name in names {
            if let Some((name, subscribers)) = subscribed.get_key_value(name) {
                for (_, mailbox) in &subscribers.0 {
                    if is_collection(name) {
                        mailbox.collection(type_url, name);
                    } else {
                        mailbox.name(type_url, name);
                    }
                }
            }
            if is_collection(name) {
                continue;
            }
            if let Some((collection, subscribers)) = subscribed.get_key_value(collection_of(name).as_str()) {
                let name = Arc::from(name);
                for (_, mailbox) in &subscribers.0 {
                    mailbox.member(type_url, collection, &name);
                }
            }
        }
    }

    /// Everything may have changed, such as when a source becomes ready: all streams look at all they subscribe to.
    /// Only what has another version is sent.
    pub fn changed_all(&self) {
        let index = self.index.read();
        for (type_url, subscribed) in &index.types {
            for (name, subscribers) in subscribed {
                for (_, mailbox) in &subscribers.0 {
                    if is_collection(name) {
                        mailbox.collection(type_url, name);
                    } else {
                        mailbox.name(type_url, name);
                    }
                }
            }
        }
    }

    /// How many streams subscribe to exactly this name. A compiler needs to keep nothing for a name that has none,
    /// nor for a member whose collection has none.
    pub fn subscribers(&self, type_url: &str, name: &str) -> usize {
        let index = self.index.read();
        index.types.get(type_url).and_then(|names| names.get(name)).map_or(0, |found| found.0.len())
    }

    /// The streams that subscribe to this name or to its collection.
    pub(super) fn subscriber_ids(&self, type_url: &str, name: &str) -> Vec<u64> {
        let index = self.index.read();
        let Some(names) = index.types.get(type_url) else { return Vec::new() };
        let collection = collection_of(name);
        let found = [names.get(name), names.get(collection.as_str())];
        let mut ids: Vec<u64> = found
            .into_iter()
            .flatten()
            .flat_map(|subscribers| subscribers.0.iter().map(|(id, _)| *id))
            .collect();
        ids.sort_unstable();
        ids.dedup();
        ids
    }

    /// Adds a stream to those who are told of these names. Gives the shared forms of the names.
    pub(super) fn subscribe<'a>(
        &self,
        id: u64,
        mailbox: &Arc<Mailbox>,
        type_url: &Arc<str>,
        names: impl IntoIterator<Item = &'a str>,
    ) -> Vec<Arc<str>> {
        let mut index = self.index.write();
        let subscribed = index.types.entry(Arc::clone(type_url)).or_default();
        let shared = |name: &str| {
            let known = subscribed.get_key_value(name).map(|(known, _)| Arc::clone(known));
            let name = known.unwrap_or_else(|| Arc::from(name));
            let subscribers = &mut subscribed.entry(Arc::clone(&name)).or_default().0;
            if let Err(at) = subscribers.binary_search_by_key(&id, |(id, _)| *id) {
                subscribers.insert(at, (id, Arc::clone(mailbox)));
            }
            name
        };
        names.into_iter().map(shared).collect()
    }

    /// The stream is no longer told of these names.
    pub(super) fn unsubscribe<'a>(
        &self,
        id: u64,
        type_url: &str,
        names: impl IntoIterator<Item = &'a Arc<str>>,
    ) {
        let mut index = self.index.write();
        let Some(subscribed) = index.types.get_mut(type_url) else { return };
        for name in names {
            let Some(subscribers) = subscribed.get_mut(name) else { continue };
            if let Ok(at) = subscribers.0.binary_search_by_key(&id, |(id, _)| *id) {
                subscribers.0.remove(at);
            }
            if subscribers.0.is_empty() {
                subscribed.remove(name);
            }
        }
        if subscribed.is_empty() {
            index.types.remove(type_url);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subscribed(notifier: &Notifier, id: u64, names: &[&str]) -> Arc<Mailbox> {
        let mailbox = Arc::new(Mailbox::default());
        notifier.subscribe(id, &mailbox, &Arc::from("t"), names.iter().copied());
        mailbox
    }

    #[test]
    fn only_those_who_subscribe_are_told() {
        let notifier = Notifier::new();
        let first = subscribed(&notifier, 1, &["a", "c/*"]);
        let second = subscribed(&notifier, 2, &["b", "c/1"]);
        notifier.changed("t", ["a", "c/1", "c/2", "unknown"]);
        notifier.changed("u", ["b"]);
        assert_eq!(first.waiting("t"), 3);
        assert_eq!(second.waiting("t"), 1);
    }

    #[test]
    fn nothing_is_kept_for_those_who_left() {
        let notifier = Notifier::new();
        subscribed(&notifier, 1, &["a", "b"]);
        subscribed(&notifier, 2, &["a"]);
        assert_eq!(notifier.subscribers("t", "a"), 2);
        assert_eq!(notifier.subscriber_ids("t", "a"), [1, 2]);
        notifier.unsubscribe(1, "t", &[Arc::from("a"), Arc::from("b")]);
        notifier.unsubscribe(2, "t", &[Arc::from("a")]);
        assert_eq!(notifier.subscribers("t", "a"), 0);
        assert!(notifier.index.read().types.is_empty());
    }
}
