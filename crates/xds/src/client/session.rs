//! One stream, from its first request to its end.

use std::collections::VecDeque;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};
use futures_util::StreamExt;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Status, Streaming};

use super::Config;
use super::connect::Connect;
use super::resources::Resources;
use crate::{Error, MAX_SUBSCRIPTIONS};

/// Requests that wait for the transport. More wait in the stream's own queue, of which each holds the next response
/// back, so that a server that does not read is not read from either.
const QUEUED: usize = 4;

/// An open stream.
pub(super) struct Stream {
    requests: mpsc::Sender<DeltaDiscoveryRequest>,
    responses: Streaming<DeltaDiscoveryResponse>,
    /// Goes with the first request.
    node: Option<Node>,
    queue: VecDeque<DeltaDiscoveryRequest>,
    /// How many subscriptions the server takes on it; none: it did not say.
    pub(super) max_subscriptions: Option<usize>,
}

impl Stream {
    /// Opens a stream that resumes with everything that is held.
    pub(super) async fn open<C: Connect>(
        service: C::Service,
        config: &Config,
        resources: &mut Resources,
    ) -> Result<Self, Error> {
        // The requests that resume hold everything that these would say.
        drop(resources.take_wishes());
        let mut node = Some(Node {
            id: config.node_id.clone(),
            user_agent_name: "weft".to_owned(),
            ..Default::default()
        });
        let mut first = resources.resume(config.batch_bytes);
        if let Some(request) = first.first_mut() {
            request.node = node.take();
        }
        let (sender, receiver) = mpsc::channel(QUEUED);
        // Part of the call from its beginning: there are servers that answer the call with their first response.
        let outgoing = futures_util::stream::iter(first).chain(ReceiverStream::new(receiver));
        let mut client = AggregatedDiscoveryServiceClient::new(service)
            .max_decoding_message_size(config.max_response_bytes);
        let responses = client.delta_aggregated_resources(outgoing).await.map_err(|status| ended(&status))?;
        let limit = responses.metadata().get(MAX_SUBSCRIPTIONS).and_then(|limit| limit.to_str().ok());
        let max_subscriptions = limit.and_then(|limit| limit.parse().ok());
        let responses = responses.into_inner();
        Ok(Self { requests: sender, responses, node, queue: VecDeque::new(), max_subscriptions })
    }

    /// Passes responses on and wishes back until the stream ends; the error says why it did.
    pub(super) async fn serve(&mut self, resources: &mut Resources) -> Error {
        // Ends when the transport takes no more requests.
        loop {
            let idle = self.queue.is_empty();
            let wishes = resources.wishes();
            tokio::select! {
                permit = self.requests.reserve(), if !idle => match (permit, self.queue.pop_front()) {
                    (Ok(permit), Some(mut request)) => {
                        request.node = self.node.take();
                        permit.send(request);
                    }
                    _ => break,
                },
                response = self.responses.message(), if idle => match response {
                    Ok(Some(response)) => self.queue.push_back(resources.receive(response)),
                    Ok(None) => return ended(&Status::unavailable("the server ended the stream")),
                    Err(status) => return ended(&status),
                },
                () = wishes, if idle => self.queue.extend(resources.take_wishes()),
            }
        }
        loop {
            match self.responses.message().await {
                Ok(Some(_)) => {}
                Ok(None) => return ended(&Status::unavailable("the server ended the stream")),
                Err(status) => return ended(&status),
            }
        }
    }
}

fn ended(status: &Status) -> Error {
    Error::Stream { reason: format!("{}: {}", status.code(), status.message()) }
}
