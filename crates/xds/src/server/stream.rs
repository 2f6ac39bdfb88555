//! One client's stream: reads its requests, sends what changed, and ends when either side or a deadline says so.

use std::collections::{HashMap, HashSet};
use std::pin::{Pin, pin};
use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryRequest;
use futures_util::{Stream, StreamExt};
use parking_lot::Mutex;
use tokio::sync::mpsc::{self, error::TrySendError};
use tokio::time::{Instant, sleep_until};
use tonic::Status;

use super::Shared;
use super::build::View;
use super::codec::Response;
use super::mailbox::Mailbox;
use super::source::{ClientContext, Peer};
use super::state::{Answer, TypeState};
use crate::resource::{collection_of, is_collection};

/// Longest name and longest type URL: well above what Kubernetes names can add up to.
const NAME_MAX: usize = 1_024;

/// The part of a stream that others read.
#[derive(Debug)]
pub(super) struct StreamState {
    pub(super) client: Arc<ClientContext>,
    pub(super) connected_at: Instant,
    pub(super) mailbox: Arc<Mailbox>,
    /// In the order in which the client asked for them first. Never locked across a wait.
    pub(super) types: Mutex<Vec<TypeState>>,
}

/// A stream on which the client has sent its first request; what it holds elsewhere is given back when it is dropped.
struct ClientStream {
    shared: Arc<Shared>,
    state: Arc<StreamState>,
    responses: Responses,
    next_nonce: u64,
    /// How many resources the client has said it holds.
    resumed: usize,
    end: String,
}

pub(super) type Responses = mpsc::Sender<Result<Response, Status>>;

/// Serves a stream to its end. The status of an end that is not the client's own choice is the last thing it is sent.
pub(super) async fn serve<S>(shared: Arc<Shared>, peer: Peer, requests: S, responses: Responses)
where
    S: Stream<Item = Result<DeltaDiscoveryRequest, Status>> + Send,
{
    let mut requests = pin!(requests);
    let mut draining = shared.draining.subscribe();
    let first = tokio::select! {
        first = requests.next() => first,
        () = responses.closed() => None,
        _ = draining.wait_for(|draining| *draining) => None,
    };
    let Some(Ok(first)) = first else { return };
    let mut stream = ClientStream::open(shared, peer, &first, responses);
    match stream.run(first, requests).await {
        Ok(reason) => reason.clone_into(&mut stream.end),
        Err(status) => {
            stream.end = format!("{}: {}", status.code(), status.message());
            // The queue has a place for it; a client that is gone doesn't need it.
            let _ = stream.responses.try_send(Err(status));
        }
    }
}

impl ClientStream {
    fn open(shared: Arc<Shared>, peer: Peer, first: &DeltaDiscoveryRequest, responses: Responses) -> Self {
        let client = Arc::new(ClientContext {
            id: shared.next_id(),
            identity: peer.identity,
            namespace: peer.namespace,
            node_id: first.node.as_ref().map_or("", |node| node.id.as_str()).into(),
        });
        let state = Arc::new(StreamState {
            client: Arc::clone(&client),
            connected_at: Instant::now(),
            mailbox: Arc::default(),
            types: Mutex::default(),
        });
        shared.streams.lock().insert(client.id, Arc::clone(&state));
        shared.observer.connected(&client);
        let end = "cancelled".to_owned();
        Self { shared, state, responses, next_nonce: 1, resumed: 0, end }
    }

    async fn run<S>(
        &mut self,
        first: DeltaDiscoveryRequest,
        mut requests: Pin<&mut S>,
    ) -> Result<&'static str, Status>
    where
        S: Stream<Item = Result<DeltaDiscoveryRequest, Status>> + Send,
    {
        let mut draining = self.shared.draining.subscribe();
        let ack_timeout = self.shared.config.ack_timeout;
        // The spread keeps streams that began together, after a restart, from ending together.
        let age = self.shared.config.max_age.map(|age| age.mul_f64(0.8 + 0.4 * fastrand::f64()));
        let mut aged = pin!(until(age.map(|age| self.state.connected_at + age)));
        self.request(first)?;
        loop {
            let more = self.flush()?;
            let oldest = self.state.types.lock().iter().filter_map(TypeState::waiting_since).min();
            tokio::select! {
                request = requests.next() => match request {
                    Some(request) => self.request(request?)?,
                    None => return Ok("the client ended the stream"),
                },
                () = self.state.mailbox.changed() => {}
                () = tokio::task::yield_now(), if more => {}
                () = self.responses.closed() => return Ok("the connection closed"),
                () = until(oldest.map(|sent_at| sent_at + ack_timeout)) => {
                    let reason = format!("no ACK within {ack_timeout:?}; the client is stuck or unreachable");
                    return Err(Status::deadline_exceeded(reason));
                }
                () = &mut aged => return Ok("the stream reached its age"),
                _ = draining.wait_for(|draining| *draining) => return Ok("the server drains"),
            }
        }
    }

    fn request(&mut self, request: DeltaDiscoveryRequest) -> Result<(), Status> {
        let state = Arc::clone(&self.state);
        let mut types = state.types.lock();
        let known = types.iter().position(|known| **known.type_url() == *request.type_url);
        if known.is_none() {
            self.check_type(&request.type_url, types.len())?;
            types.push(TypeState::new(request.type_url.as_str().into()));
        }
        let at = known.unwrap_or(types.len() - 1);
        let Some(state) = types.get_mut(at) else { return Ok(()) };
        if !request.response_nonce.is_empty() {
            self.answer(state, &request);
        }
        let mut subscribe = request.resource_names_subscribe;
        let plain = request.response_nonce.is_empty() && request.resource_names_unsubscribe.is_empty();
        if known.is_none() && subscribe.is_empty() && plain {
            // How clients asked for everything before `*` was a name.
            subscribe.push("*".to_owned());
        }
        if subscribe.iter().any(|name| name.is_empty() || name.len() > NAME_MAX) {
            return Err(Status::invalid_argument("a resource name has to have 1 to 1024 bytes"));
        }
        let names = subscribe.iter().map(String::as_str);
        let id = self.state.client.id;
        let names = self.shared.notifier.subscribe(id, &self.state.mailbox, state.type_url(), names);
        let mut fresh = HashSet::new();
        for name in names {
            if is_collection(&name) {
                self.state.mailbox.collection(state.type_url(), &name);
            } else {
                self.state.mailbox.name(state.type_url(), &name);
            }
            if state.subscribe(Arc::clone(&name)) {
                fresh.insert(name);
            }
        }
        self.resume(state, &fresh, &request.initial_resource_versions)?;
        self.unsubscribe(state, &request.resource_names_unsubscribe);
        self.check_subscriptions(types.iter().map(TypeState::subscription_count).sum())
    }

    fn check_type(&self, type_url: &str, types: usize) -> Result<(), Status> {
        let max = self.shared.config.max_types;
        if type_url.is_empty() || type_url.len() > NAME_MAX {
            return Err(Status::invalid_argument("type_url has to have 1 to 1024 bytes"));
        }
        if types >= max {
            let reason = format!("a stream carries at most {max} types of resources");
            return Err(Status::resource_exhausted(reason));
        }
        Ok(())
    }

    fn check_subscriptions(&self, subscriptions: usize) -> Result<(), Status> {
        let max = self.shared.config.max_subscriptions;
        if subscriptions > max {
            let reason = format!(
                "{subscriptions} subscriptions on one stream, the limit is {max}; unsubscribe from what is not used \
                 or raise the server's limit"
            );
            let client = &self.state.client;
            tracing::warn!(client = %client.node_id, identity = %client.identity, subscriptions, max,
                "a client subscribes to more than it may and is cut off; raise the limit, or have it use less");
            return Err(Status::resource_exhausted(reason));
        }
        Ok(())
    }

    fn answer(&self, state: &mut TypeState, request: &DeltaDiscoveryRequest) {
        let now = Instant::now();
        let (observer, client) = (&self.shared.observer, &self.state.client);
        match state.answer(&request.response_nonce, request.error_detail.as_ref(), now) {
            Answer::Stale => {}
            Answer::Accepted { sent_at } => {
                observer.accepted(client, state.type_url(), now.duration_since(sent_at));
            }
            Answer::Refused { message, rejections } => {
                observer.refused(client, state.type_url(), &message, &rejections);
            }
        }
    }

    fn resume(
        &mut self,
        state: &mut TypeState,
        fresh: &HashSet<Arc<str>>,
        versions: &HashMap<String, String>,
    ) -> Result<(), Status> {
        self.resumed += versions.len();
        let max = self.shared.config.max_resumed;
        if self.resumed > max {
            let reason =
                format!("initial_resource_versions name {} resources, the limit is {max}", self.resumed);
            return Err(Status::resource_exhausted(reason));
        }
        for (name, version) in versions {
            if fresh.contains(name.as_str()) || fresh.contains(collection_of(name).as_str()) {
                state.resume(name, version);
            }
        }
        Ok(())
    }

    fn unsubscribe(&self, state: &mut TypeState, names: &[String]) {
        let ended: Vec<Arc<str>> = names
            .iter()
            .filter(|name| state.unsubscribe(name))
            .map(|name| Arc::from(name.as_str()))
            .collect();
        self.shared.notifier.unsubscribe(self.state.client.id, state.type_url(), &ended);
        for name in &ended {
            if let Some(collection) = state.leave_to_collection(name) {
                self.state.mailbox.member(state.type_url(), &collection, name);
            }
        }
    }

    /// Queues a response for each type that may have one. True if there is more to look at and nothing to wait for.
    fn flush(&mut self) -> Result<bool, Status> {
        let (client, mailbox) = (&self.state.client, &self.state.mailbox);
        let view = View { source: &*self.shared.source, client, batch_bytes: self.shared.config.batch_bytes };
        let mut more = false;
        for state in self.state.types.lock().iter_mut() {
            if state.waiting_since().is_some() {
                continue;
            }
            let type_url = Arc::clone(state.type_url());
            let batch = state.build(&view, || mailbox.take(&type_url));
            if batch.is_empty() {
                more |= state.backlog_len() + mailbox.waiting(&type_url) > 0;
                continue;
            }
            let nonce = self.next_nonce;
            self.next_nonce += 1;
            state.sent(&batch, nonce, Instant::now());
            let (resources, removed) = (batch.resources.len(), batch.removed.len());
            self.shared.observer.sent(client, &type_url, resources, removed, batch.bytes);
            let response = Response {
                type_url: type_url.to_string(),
                nonce: nonce.to_string(),
                resources: batch.resources,
                removed: batch.removed.iter().map(ToString::to_string).collect(),
            };
            if let Err(TrySendError::Full(_)) = self.responses.try_send(Ok(response)) {
                return Err(Status::failed_precondition(
                    "responses were acknowledged before they were received",
                ));
            }
        }
        Ok(more)
    }
}

impl Drop for ClientStream {
    fn drop(&mut self) {
        let client = &self.state.client;
        self.shared.streams.lock().remove(&client.id);
        for state in self.state.types.lock().iter() {
            self.shared.notifier.unsubscribe(client.id, state.type_url(), state.subscriptions());
        }
        self.shared.observer.disconnected(client, &self.end);
    }
}

/// Waits for a moment, or forever.
async fn until(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}
