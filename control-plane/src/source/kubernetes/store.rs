//! What of a watched list is there, so that a list that is read anew also says what has gone.

use std::collections::HashSet;
use std::hash::Hash;

use kube::runtime::watcher::Event;

use crate::index::Change;
use weft_resource::{Key, Problem};

/// What came of one or more events.
#[derive(Debug, Default)]
pub(super) struct News {
    pub(super) changes: Vec<Change>,
    /// What is wrong with resources; nothing for those that are right.
    pub(super) judged: Vec<(Key, Vec<Problem>)>,
    /// Whether all that is there has been told by now.
    pub(super) whole: bool,
}

/// The ids of what is there.
pub(super) struct Store<Id, O, F: Fn(&O) -> Id> {
    id: F,
    held: HashSet<Id>,
    /// While the list is read anew: what it holds so far.
    coming: Option<(HashSet<Id>, News)>,
    object: std::marker::PhantomData<O>,
}

impl<Id: Clone + Eq + Hash, O, F: Fn(&O) -> Id> Store<Id, O, F> {
    pub(super) fn new(id: F) -> Self {
        Self { id, held: HashSet::new(), coming: None, object: std::marker::PhantomData }
    }

    /// What an event means. Of a list that is read anew there is one piece of news, when it is whole.
    pub(super) fn take(
        &mut self,
        event: Event<O>,
        translate: impl Fn(Id, O) -> News,
        gone: impl Fn(Id) -> Change,
    ) -> Option<News> {
        match event {
            Event::Init => {
                self.coming = Some((HashSet::new(), News::default()));
                None
            }
            Event::InitApply(object) => {
                let id = (self.id)(&object);
                let (held, news) = self.coming.get_or_insert_default();
                held.insert(id.clone());
                let told = translate(id, object);
                news.changes.extend(told.changes);
                news.judged.extend(told.judged);
                None
            }
            Event::InitDone => {
                let (held, mut news) = self.coming.take().unwrap_or_default();
                let gone: Vec<Change> = self.held.difference(&held).cloned().map(gone).collect();
                for change in gone {
                    news.forget(change);
                }
                self.held = held;
                news.whole = true;
                Some(news)
            }
            Event::Apply(object) => {
                let id = (self.id)(&object);
                self.held.insert(id.clone());
                Some(translate(id, object))
            }
            Event::Delete(object) => {
                let id = (self.id)(&object);
                self.held.remove(&id);
                let mut news = News::default();
                news.forget(gone(id));
                Some(news)
            }
        }
    }
}

impl News {
    fn forget(&mut self, change: Change) {
        if let Change::Remove(key) = &change {
            self.judged.push((key.clone(), Vec::new()));
        }
        self.changes.push(change);
    }
}
