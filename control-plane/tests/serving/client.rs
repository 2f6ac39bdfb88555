//! A discovery client, and what it holds.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use weft_mesh::backoff::{Backoff, Jitter};
use weft_proto::{Resource, v1};
use weft_xds::Rejection;
use weft_xds::client::{Builder, Changes, Config, Connection, Handler, Subscriptions};

use crate::fixture::{Member, soon};

impl Member {
    /// A discovery client of this member.
    pub(crate) fn discover(&self, node: &str) -> Discoverer {
        let backoff = Backoff {
            first: Duration::from_millis(10),
            longest: Duration::from_millis(100),
            jitter: Jitter::Full,
        };
        let mut builder = Builder::new(Config { backoff, ..Config::new(node) });
        let destinations = Kind::new(&mut builder);
        let endpoints = Kind::new(&mut builder);
        let inbounds = Kind::new(&mut builder);
        let bundles = Kind::new(&mut builder);
        let member = self.clone();
        let client = builder.build(move || {
            let member = member.clone();
            async move { member.channel().await }
        });
        let connection = client.connection();
        let task = tokio::spawn(client.run());
        Discoverer { destinations, endpoints, inbounds, bundles, connection, task }
    }
}

/// A discovery client, and what it holds.
pub(crate) struct Discoverer {
    pub(crate) destinations: Kind<v1::Destination>,
    pub(crate) endpoints: Kind<v1::Endpoint>,
    pub(crate) inbounds: Kind<v1::Inbound>,
    pub(crate) bundles: Kind<v1::TrustBundle>,
    pub(crate) connection: watch::Receiver<Connection>,
    task: tokio::task::JoinHandle<()>,
}

impl Drop for Discoverer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Discoverer {
    /// Waits until there is a stream, or until there is none.
    pub(crate) async fn connected(&mut self, wanted: bool) {
        let is = |connection: &Connection| matches!(connection, Connection::Connected { .. }) == wanted;
        soon(self.connection.wait_for(is)).await.unwrap();
    }
}

/// The resources of one type that a client holds.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Held<T> {
    pub(crate) resources: BTreeMap<String, T>,
    /// Names that were said not to exist, and do not.
    pub(crate) absent: Vec<String>,
    /// Everything that was ever sent: names of resources, and of those that were removed after a `-`.
    pub(crate) sent: Vec<String>,
}

/// One type of resource of a client.
pub(crate) struct Kind<T> {
    pub(crate) subscriptions: Subscriptions,
    held: watch::Receiver<Held<T>>,
}

impl<T: Resource + Clone + Debug + 'static> Kind<T> {
    fn new(builder: &mut Builder) -> Self {
        let nothing = Held { resources: BTreeMap::new(), absent: Vec::new(), sent: Vec::new() };
        let (sender, held) = watch::channel(nothing);
        Self { subscriptions: builder.handle::<T, _>(T::TYPE_URL, Recorder(sender)), held }
    }

    /// Subscribes to a name and waits until it is there.
    pub(crate) async fn get(&mut self, name: &str) -> T {
        self.subscriptions.subscribe(name);
        self.until(|held| held.resources.contains_key(name)).await.resources[name].clone()
    }

    /// What is held, once it is like this.
    pub(crate) async fn until(&mut self, wanted: impl FnMut(&Held<T>) -> bool) -> Held<T> {
        soon(self.held.wait_for(wanted)).await.unwrap().clone()
    }

    /// What is held now.
    pub(crate) fn now(&self) -> Held<T> {
        self.held.borrow().clone()
    }
}

/// Notes what arrives.
struct Recorder<T>(watch::Sender<Held<T>>);

impl<T: Send + Sync + 'static> Handler<T> for Recorder<T> {
    fn apply(&mut self, changes: Changes<T>) -> Vec<Rejection> {
        self.0.send_modify(|held| {
            for update in changes.updates {
                let name = update.name.to_string();
                held.sent.push(name.clone());
                held.absent.retain(|absent| *absent != name);
                held.resources.insert(name, update.resource.expect("it is readable"));
            }
            for name in changes.removed {
                held.sent.push(format!("-{name}"));
                held.resources.remove(&*name);
                held.absent.push(name.to_string());
            }
        });
        Vec::new()
    }

    fn forget(&mut self, _: Vec<Arc<str>>) {}
}
