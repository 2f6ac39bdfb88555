//! What receives the resources of one type.

use std::marker::PhantomData;
use std::sync::Arc;

use envoy_types::pb::google::protobuf::Any;
use prost::Message;

use crate::Rejection;

/// A resource that is new or has changed.
#[derive(Clone, Debug, PartialEq)]
pub struct Update<T> {
    /// Its name.
    pub name: Arc<str>,
    /// Its version at the server.
    pub version: Arc<str>,
    /// The resource, or why it can't be read. What can't be read is refused whatever the handler says.
    pub resource: Result<T, String>,
}

/// What one response changes. A name is in it once at most.
#[derive(Clone, Debug, PartialEq)]
pub struct Changes<T> {
    /// Resources that are new or have changed.
    pub updates: Vec<Update<T>>,
    /// Names that are subscribed to and don't exist, or don't exist any more: resources, members of collections (also
    /// those of a collection that does not exist any more), and collections themselves (`prefix/*`).
    pub removed: Vec<Arc<str>>,
    /// Collections of which all members have been delivered now, be it none. Later members come one by one.
    pub complete: Vec<Arc<str>>,
}

impl<T> Changes<T> {
    fn is_empty(&self) -> bool {
        self.updates.is_empty() && self.removed.is_empty() && self.complete.is_empty()
    }
}

/// Receives the resources of one type, on the task of the client.
pub trait Handler<T>: Send + 'static {
    /// Applies what can be applied and tells what was refused: each by its name, with the reason. For a refused
    /// resource, the one that was applied before stays.
    fn apply(&mut self, changes: Changes<T>) -> Vec<Rejection>;

    /// These are not subscribed to any more, by name nor by collection; nothing more comes for them.
    fn forget(&mut self, names: Vec<Arc<str>>);
}

/// A resource as it arrived.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Raw {
    pub(super) name: Arc<str>,
    pub(super) version: Arc<str>,
    pub(super) content: Any,
}

/// A handler of any type.
pub(super) trait RawHandler: Send {
    fn apply(&mut self, updates: Vec<Raw>, removed: Vec<Arc<str>>, complete: Vec<Arc<str>>)
    -> Vec<Rejection>;
    fn forget(&mut self, names: Vec<Arc<str>>);
}

/// Reads the resources for a handler of its type.
pub(super) struct Typed<T, H> {
    type_url: Arc<str>,
    handler: H,
    message: PhantomData<fn() -> T>,
}

impl<T: Message + Default, H> Typed<T, H> {
    pub(super) fn new(type_url: Arc<str>, handler: H) -> Self {
        Self { type_url, handler, message: PhantomData }
    }

    fn read(&self, content: &Any) -> Result<T, String> {
        if content.type_url != *self.type_url {
            return Err(format!("it is a {}, not a {}", content.type_url, self.type_url));
        }
        T::decode(content.value.as_slice()).map_err(|error| format!("it can't be decoded: {error}"))
    }
}

impl<T: Message + Default + 'static, H: Handler<T>> RawHandler for Typed<T, H> {
    fn apply(
        &mut self,
        updates: Vec<Raw>,
        removed: Vec<Arc<str>>,
        complete: Vec<Arc<str>>,
    ) -> Vec<Rejection> {
        let mut unreadable = Vec::new();
        let mut read = |raw: Raw| {
            let resource = self.read(&raw.content);
            if let Err(reason) = &resource {
                unreadable.push(Rejection::new(Arc::clone(&raw.name), reason.clone()));
            }
            Update { name: raw.name, version: raw.version, resource }
        };
        let updates = updates.into_iter().map(&mut read).collect();
        let changes = Changes { updates, removed, complete };
        if changes.is_empty() {
            return unreadable;
        }
        let refused = self.handler.apply(changes);
        let news = |rejection: &Rejection| unreadable.iter().all(|known| known.name != rejection.name);
        let refused: Vec<Rejection> = refused.into_iter().filter(news).collect();
        unreadable.extend(refused);
        unreadable
    }

    fn forget(&mut self, names: Vec<Arc<str>>) {
        self.handler.forget(names);
    }
}
