//! The applications that a worker forwards to.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use tokio::time::Instant;

pub(crate) use super::adaptive::Adaptive;
use super::connect::Connector;
use super::load::Load;
use super::local::Local;
use crate::http::client::Client;
use crate::runtime::shared::Shared;
use crate::transport::own_listeners::OwnListeners;

/// The applications of one worker, by where they listen.
#[derive(Debug, Default)]
pub struct Applications(RefCell<HashMap<Local, Rc<Application>>>);

/// One port of the application: the connections to it, and how loaded it is.
#[derive(Debug)]
pub struct Application {
    /// The connections.
    pub client: Rc<Client>,
    /// Requests in flight and their latency.
    pub load: Load,
    pub(crate) adaptive: Adaptive,
}

impl Applications {
    /// The application that listens there.
    pub fn at(&self, local: Local, own: &OwnListeners) -> Rc<Application> {
        let mut applications = self.0.borrow_mut();
        let application = applications.entry(local).or_insert_with(|| {
            let client = Client::new(Connector::application(local, own));
            Rc::new(Application { client, load: Load::default(), adaptive: Adaptive::default() })
        });
        Rc::clone(application)
    }

    /// Closes idle connections. To be called about every second.
    pub fn sweep(&self, now: Instant, shared: &Shared) {
        let (stats, idle) = (&shared.stats, shared.application_idle());
        // A redirected connection is to whatever port its peer likes: what nobody uses is not kept.
        self.0.borrow_mut().retain(|_, application| {
            application.client.sweep(now, idle, stats) || Rc::strong_count(application) > 1
        });
    }
}
