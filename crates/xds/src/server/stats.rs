//! What a server says about its clients: for a debug page, and for what has to wait until all have a version.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::stream::StreamState;
use super::{ClientContext, Server};
use crate::{Rejection, Version};

/// One connected client.
#[derive(Clone, Debug)]
pub struct ClientStats {
    /// Who it is.
    pub client: Arc<ClientContext>,
    /// How long its stream has been open.
    pub connected_for: Duration,
    /// Its types, in the order in which it asked for them.
    pub types: Vec<TypeStats>,
}

/// One type of resource of one client.
#[derive(Clone, Debug)]
pub struct TypeStats {
    /// The type URL.
    pub type_url: Arc<str>,
    /// Names and collections that it subscribes to.
    pub subscriptions: usize,
    /// Resources that it was given and not told to remove.
    pub held: usize,
    /// Changes that wait: for the ACK of the response before, or for room in the next.
    pub pending: usize,
    /// How long the last response has been waiting for its ACK.
    pub unacknowledged_for: Option<Duration>,
    /// How long ago it accepted a response.
    pub last_ack: Option<Duration>,
    /// How long ago it refused a response, and what it said.
    pub last_nack: Option<(Duration, String)>,
    /// Resources that it refused and that have not changed since.
    pub rejected: Vec<Rejection>,
    /// Responses sent on this stream.
    pub responses: u64,
    /// Resources sent on this stream.
    pub resources: u64,
    /// Removals sent on this stream.
    pub removals: u64,
}

impl Server {
    /// All connected clients, the oldest stream first.
    pub fn clients(&self) -> Vec<ClientStats> {
        let streams: Vec<Arc<StreamState>> = self.shared.streams.lock().values().cloned().collect();
        let now = Instant::now();
        streams.iter().map(|stream| stats(stream, now)).collect()
    }

    /// The names and collections that one client subscribes to, by type URL, sorted. Empty if it is gone.
    pub fn subscriptions(&self, client: u64) -> Vec<(Arc<str>, Vec<Arc<str>>)> {
        let Some(stream) = self.shared.streams.lock().get(&client).cloned() else { return Vec::new() };
        let types = stream.types.lock();
        types
            .iter()
            .map(|state| {
                let mut names: Vec<Arc<str>> = state.subscriptions().cloned().collect();
                names.sort_unstable();
                (Arc::clone(state.type_url()), names)
            })
            .collect()
    }

    /// Everyone who subscribes to a resource, by its name or by its collection, with the version that they have
    /// accepted; none if they have not answered the last one yet, or have refused it.
    pub fn accepted(&self, type_url: &str, name: &str) -> Vec<(Arc<ClientContext>, Option<Version>)> {
        let ids = self.shared.notifier.subscriber_ids(type_url, name);
        let streams: Vec<Arc<StreamState>> = {
            let streams = self.shared.streams.lock();
            ids.iter().filter_map(|id| streams.get(id).cloned()).collect()
        };
        let version = |stream: &StreamState| {
            let types = stream.types.lock();
            types.iter().find(|state| **state.type_url() == *type_url)?.accepted(name)
        };
        streams.iter().map(|stream| (Arc::clone(&stream.client), version(stream))).collect()
    }
}

fn stats(stream: &StreamState, now: Instant) -> ClientStats {
    let types = stream.types.lock();
    let of_type = |state: &super::state::TypeState| TypeStats {
        type_url: Arc::clone(state.type_url()),
        subscriptions: state.subscription_count(),
        held: state.held(),
        pending: state.backlog_len() + stream.mailbox.waiting(state.type_url()),
        unacknowledged_for: state.waiting_since().map(|since| now.duration_since(since)),
        last_ack: state.history.last_ack.map(|at| now.duration_since(at)),
        last_nack: state.history.last_nack.as_ref().map(|(at, text)| (now.duration_since(*at), text.clone())),
        rejected: state.rejections(),
        responses: state.history.responses,
        resources: state.history.resources,
        removals: state.history.removals,
    };
    ClientStats {
        client: Arc::clone(&stream.client),
        connected_for: now.duration_since(stream.connected_at),
        types: types.iter().map(of_type).collect(),
    }
}
