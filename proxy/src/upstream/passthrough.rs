//! What the mesh does not know goes where its name says, in plain text.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::http::client::Client;
use crate::observe::stats::Stats;
use crate::transport::own_listeners::OwnListeners;
use crate::upstream::connect::Connector;

/// Time after which an unused connection is closed.
const IDLE: Duration = Duration::from_mins(1);

/// Connections to what is outside the mesh, by name, `host:port`. A name is resolved for each new connection.
#[derive(Debug)]
pub struct Passthrough {
    own: OwnListeners,
    clients: RefCell<HashMap<Arc<str>, Rc<Client>, foldhash::fast::RandomState>>,
}

impl Passthrough {
    /// No connection yet; none is ever made to one of the proxy's `own` listeners.
    pub fn new(own: OwnListeners) -> Self {
        Self { own, clients: RefCell::default() }
    }

    /// The connections to one name.
    pub fn client(&self, name: &Arc<str>) -> Rc<Client> {
        let mut clients = self.clients.borrow_mut();
        let client = clients.entry(Arc::clone(name)).or_insert_with(|| Client::new(self.connector(name)));
        Rc::clone(client)
    }

    /// How to reach a name.
    pub fn connector(&self, name: &Arc<str>) -> Connector {
        Connector::named(Arc::clone(name), &self.own)
    }

    /// Closes idle connections.
    pub fn sweep(&self, now: Instant, stats: &Stats) {
        let mut clients = self.clients.borrow_mut();
        clients.retain(|_, client| client.sweep(now, IDLE, stats) || Rc::strong_count(client) > 1);
    }
}
