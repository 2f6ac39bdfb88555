//! A source to change at will, a mesh of one server and any number of clients, and what clients have seen.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use envoy_types::pb::envoy::service::discovery::v3::Resource;
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use prost::Message;
use tokio::io::DuplexStream;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tokio_stream::StreamExt;
use tokio_stream::wrappers::UnboundedReceiverStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Status, transport};
use weft_xds::client::{Builder, Changes, Client, Connection, Handler, Subscriptions};
use weft_xds::server::{ClientContext, Lookup, Members, Notifier, Observer, Peer, ResourceSource, Server};
use weft_xds::{EncodedResource, Rejection, client, collection_of, server};

/// Two types; their resources are texts.
pub(crate) const FRUIT: &str = "type.googleapis.com/test.Fruit";
pub(crate) const STONE: &str = "type.googleapis.com/test.Stone";

/// Waits until nothing happens any more: with a paused clock, time passes only then.
pub(crate) async fn settle() {
    sleep(Duration::from_secs(1)).await;
}

#[derive(Default)]
struct Content {
    resources: BTreeMap<(String, String), Arc<EncodedResource>>,
    collections: BTreeSet<(String, String)>,
    pending: bool,
    lookups: usize,
}

/// A source to change at will.
#[derive(Clone, Default)]
pub(crate) struct Store {
    content: Arc<Mutex<Content>>,
    pub(crate) notifier: Notifier,
}

impl Store {
    pub(crate) fn set(&self, type_url: &str, name: &str, value: &str) {
        self.set_quietly(type_url, name, value);
        self.notifier.changed(type_url, [name]);
    }

    pub(crate) fn set_quietly(&self, type_url: &str, name: &str, value: &str) {
        self.insert(type_url, EncodedResource::new(type_url, name, &value.to_owned()));
    }

    /// Adds a resource as it is, without telling anyone.
    pub(crate) fn insert(&self, type_url: &str, resource: EncodedResource) {
        let key = (type_url.to_owned(), resource.name().to_string());
        self.content.lock().resources.insert(key, Arc::new(resource));
    }

    pub(crate) fn remove(&self, type_url: &str, name: &str) {
        self.content.lock().resources.remove(&(type_url.into(), name.into()));
        self.notifier.changed(type_url, [name]);
    }

    /// Makes a collection, perhaps without members.
    pub(crate) fn collect(&self, type_url: &str, collection: &str) {
        self.content.lock().collections.insert((type_url.into(), collection.into()));
        self.notifier.changed(type_url, [collection]);
    }

    /// Removes a collection; its members stay as resources of their own.
    pub(crate) fn scatter(&self, type_url: &str, collection: &str) {
        self.content.lock().collections.remove(&(type_url.into(), collection.into()));
        self.notifier.changed(type_url, [collection]);
    }

    /// Whether the source does not know anything yet.
    pub(crate) fn pending(&self, pending: bool) {
        self.content.lock().pending = pending;
        if !pending {
            self.notifier.changed_all();
        }
    }

    pub(crate) fn value(&self, type_url: &str, name: &str) -> Option<Arc<EncodedResource>> {
        self.content.lock().resources.get(&(type_url.into(), name.into())).cloned()
    }

    /// The text of a resource; empty if there is none.
    pub(crate) fn text(&self, type_url: &str, name: &str) -> String {
        let Some(resource) = self.value(type_url, name) else { return String::new() };
        let wire = Resource::decode(resource.wire().clone()).expect("a resource");
        let content = wire.resource.expect("a content");
        String::decode(content.value.as_slice()).expect("a text")
    }

    pub(crate) fn exists(&self, type_url: &str, collection: &str) -> bool {
        self.content.lock().collections.contains(&(type_url.into(), collection.into()))
    }

    pub(crate) fn lookups(&self) -> usize {
        self.content.lock().lookups
    }

    pub(crate) fn all(&self, type_url: &str, collection: &str) -> Vec<Arc<EncodedResource>> {
        let content = self.content.lock();
        let member = |(kind, name): &(String, String)| kind == type_url && collection_of(name) == collection;
        content.resources.iter().filter(|(key, _)| member(key)).map(|(_, value)| Arc::clone(value)).collect()
    }
}

impl ResourceSource for Store {
    fn resource(&self, _: &ClientContext, type_url: &str, name: &str) -> Lookup {
        self.content.lock().lookups += 1;
        if self.content.lock().pending {
            return Lookup::Pending;
        }
        self.value(type_url, name).map_or(Lookup::Absent, Lookup::Found)
    }

    fn members(&self, _: &ClientContext, type_url: &str, collection: &str) -> Members {
        if self.content.lock().pending {
            return Members::Pending;
        }
        if !self.exists(type_url, collection) {
            return Members::Absent;
        }
        Members::Found(self.all(type_url, collection))
    }
}

/// What the server did.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Seen {
    pub(crate) responses: usize,
    pub(crate) resources: usize,
    pub(crate) removed: usize,
    pub(crate) largest: usize,
    pub(crate) accepted: usize,
    pub(crate) refused: Vec<(String, String, Vec<Rejection>)>,
    pub(crate) connected: Vec<ClientContext>,
    pub(crate) ends: Vec<String>,
}

#[derive(Clone, Default)]
pub(crate) struct Recorder(Arc<Mutex<Seen>>);

impl Recorder {
    /// What was seen since it was last taken.
    pub(crate) fn take(&self) -> Seen {
        std::mem::take(&mut *self.0.lock())
    }
}

impl Observer for Recorder {
    fn connected(&self, client: &ClientContext) {
        self.0.lock().connected.push(client.clone());
    }

    fn disconnected(&self, _: &ClientContext, reason: &str) {
        self.0.lock().ends.push(reason.to_owned());
    }

    fn sent(&self, _: &ClientContext, _: &str, resources: usize, removed: usize, bytes: usize) {
        let mut seen = self.0.lock();
        seen.responses += 1;
        seen.resources += resources;
        seen.removed += removed;
        seen.largest = seen.largest.max(bytes);
    }

    fn accepted(&self, _: &ClientContext, _: &str, _: Duration) {
        self.0.lock().accepted += 1;
    }

    fn refused(&self, client: &ClientContext, _: &str, message: &str, rejections: &[Rejection]) {
        let refusal = (client.node_id.to_string(), message.to_owned(), rejections.to_vec());
        self.0.lock().refused.push(refusal);
    }
}

/// The wire between clients and the server.
#[derive(Clone)]
pub(crate) struct Wire {
    incoming: Arc<Mutex<mpsc::UnboundedSender<Result<DuplexStream, io::Error>>>>,
    open: Arc<Mutex<Vec<JoinHandle<()>>>>,
    /// Attempts to connect, each with its time.
    pub(crate) attempts: Arc<Mutex<Vec<Instant>>>,
    pub(crate) refuse: Arc<Mutex<bool>>,
    pub(crate) hang: Arc<Mutex<bool>>,
}

impl Wire {
    /// Breaks all connections.
    pub(crate) fn cut(&self) {
        self.open.lock().drain(..).for_each(|link| link.abort());
    }

    pub(crate) async fn connect(&self) -> Result<Channel, transport::Error> {
        self.attempts.lock().push(Instant::now());
        if *self.hang.lock() {
            std::future::pending::<()>().await;
        }
        let wire = self.clone();
        let connector = tower::service_fn(move |_| {
            let link = wire.link();
            async move { link.map(TokioIo::new) }
        });
        Endpoint::from_static("http://discovery.test").connect_with_connector(connector).await
    }

    /// A connection of two pieces with a joint that can be cut.
    fn link(&self) -> io::Result<DuplexStream> {
        if *self.refuse.lock() {
            return Err(io::Error::new(io::ErrorKind::ConnectionRefused, "refused by the test"));
        }
        let (client, mut near) = tokio::io::duplex(4096);
        let (mut far, server) = tokio::io::duplex(4096);
        self.incoming.lock().send(Ok(server)).map_err(io::Error::other)?;
        let joint = async move {
            // How a connection ends is for its two ends to notice.
            let _ = tokio::io::copy_bidirectional(&mut near, &mut far).await;
        };
        self.open.lock().push(tokio::spawn(joint));
        Ok(client)
    }
}

/// A server and what its clients need.
pub(crate) struct Mesh {
    pub(crate) store: Store,
    pub(crate) server: Server,
    pub(crate) seen: Recorder,
    pub(crate) wire: Wire,
}

impl Mesh {
    pub(crate) fn new() -> Self {
        Self::with(server::Config { max_age: None, ..server::Config::default() })
    }

    pub(crate) fn with(config: server::Config) -> Self {
        let (store, seen) = (Store::default(), Recorder::default());
        let (incoming, _) = mpsc::unbounded_channel();
        let wire = Wire {
            incoming: Arc::new(Mutex::new(incoming)),
            open: Arc::default(),
            attempts: Arc::default(),
            refuse: Arc::default(),
            hang: Arc::default(),
        };
        let server = serve(config, &store, &seen, &wire);
        Self { store, server, seen, wire }
    }

    /// Replaces the server by another one, as a restart or another replica does; its store is the same.
    pub(crate) fn replace(&mut self, config: server::Config) {
        self.server = serve(config, &self.store, &self.seen, &self.wire);
    }

    pub(crate) fn client(&self, node: &str) -> TestClient {
        self.client_with(client::Config::new(node))
    }

    pub(crate) fn client_with(&self, config: client::Config) -> TestClient {
        let mut builder = Builder::new(config);
        let fruit = Recording::default();
        let stone = Recording::default();
        let (fruit_view, stone_view) = (fruit.0.subscribe(), stone.0.subscribe());
        let fruits = builder.handle::<String, _>(FRUIT, fruit);
        let stones = builder.handle::<String, _>(STONE, stone);
        let wire = self.wire.clone();
        let client: Client<_> = builder.build(move || {
            let wire = wire.clone();
            async move { wire.connect().await }
        });
        let connection = client.connection();
        let task = tokio::spawn(client.run());
        TestClient { fruits, fruit: fruit_view, stones, stone: stone_view, connection, task }
    }
}

fn serve(config: server::Config, store: &Store, seen: &Recorder, wire: &Wire) -> Server {
    let identify = |headers: &tonic::metadata::MetadataMap, _: &http::Extensions| {
        if headers.contains_key("x-stranger") {
            return Err(Status::unauthenticated("a stranger"));
        }
        Ok(Peer { identity: "spiffe://test/ns/garden/sa/tree".into(), namespace: "garden".into() })
    };
    let source = Arc::new(store.clone());
    let server = Server::new(config, source, store.notifier.clone(), identify, seen.clone());
    let (sender, receiver) = mpsc::unbounded_channel();
    *wire.incoming.lock() = sender;
    let router = transport::Server::builder().add_service(server.clone());
    tokio::spawn(router.serve_with_incoming(UnboundedReceiverStream::new(receiver).map(|link| link)));
    server
}

/// A client's resources of one type, as its handler sees them.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct View {
    pub(crate) resources: BTreeMap<String, String>,
    /// Told as absent and not delivered since.
    pub(crate) absent: BTreeSet<String>,
    pub(crate) complete: BTreeSet<String>,
    /// How many updates came, also refused ones.
    pub(crate) updates: usize,
    pub(crate) forgotten: BTreeSet<String>,
}

/// Keeps everything but texts that begin with "bad".
#[derive(Default)]
struct Recording(watch::Sender<View>);

impl Handler<String> for Recording {
    fn apply(&mut self, changes: Changes<String>) -> Vec<Rejection> {
        let mut refused = Vec::new();
        self.0.send_modify(|view| {
            for name in changes.removed {
                view.resources.remove(&*name);
                view.complete.remove(&*name);
                view.absent.insert(name.to_string());
            }
            for update in changes.updates {
                view.updates += 1;
                match update.resource {
                    Ok(text) if text.starts_with("bad") => {
                        refused.push(Rejection::new(update.name, format!("\"{text}\" is bad")));
                    }
                    Ok(text) => {
                        view.absent.remove(&*update.name);
                        view.resources.insert(update.name.to_string(), text);
                    }
                    Err(_) => {}
                }
            }
            for name in changes.complete {
                view.absent.remove(&*name);
                view.complete.insert(name.to_string());
            }
        });
        refused
    }

    fn forget(&mut self, names: Vec<Arc<str>>) {
        self.0.send_modify(|view| {
            for name in names {
                view.resources.remove(&*name);
                view.absent.remove(&*name);
                view.complete.remove(&*name);
                view.forgotten.insert(name.to_string());
            }
        });
    }
}

/// A running client.
pub(crate) struct TestClient {
    pub(crate) fruits: Subscriptions,
    pub(crate) fruit: watch::Receiver<View>,
    pub(crate) stones: Subscriptions,
    pub(crate) stone: watch::Receiver<View>,
    pub(crate) connection: watch::Receiver<Connection>,
    task: JoinHandle<()>,
}

impl TestClient {
    /// What it has of the first type.
    pub(crate) fn view(&self) -> View {
        self.fruit.borrow().clone()
    }

    pub(crate) fn get(&self, name: &str) -> Option<String> {
        self.fruit.borrow().resources.get(name).cloned()
    }
}

impl Drop for TestClient {
    fn drop(&mut self) {
        self.task.abort();
    }
}
