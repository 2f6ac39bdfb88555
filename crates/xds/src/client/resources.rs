//! All types of a client: takes note of wishes, passes responses to handlers, and says what to request.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;

use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryRequest, DeltaDiscoveryResponse};

use super::handler::RawHandler;
use super::held::Held;
use super::subscriptions::{Subscriptions, Wanted};
use crate::rejection;

/// One type of resource.
struct Kind {
    handler: Box<dyn RawHandler>,
    held: Held,
}

/// What a client subscribes to and holds; it outlives streams.
#[derive(Default)]
pub(super) struct Resources {
    wanted: Arc<Wanted>,
    kinds: BTreeMap<Arc<str>, Kind>,
}

impl Resources {
    pub(super) fn handle(&mut self, type_url: Arc<str>, handler: Box<dyn RawHandler>) {
        self.kinds.insert(type_url, Kind { handler, held: Held::default() });
    }

    pub(super) fn subscriptions(&self, type_url: &str) -> Subscriptions {
        Subscriptions::new(type_url.into(), Arc::clone(&self.wanted))
    }

    /// Waits until there may be new wishes.
    pub(super) fn wishes(&self) -> impl Future<Output = ()> + use<> {
        let wanted = Arc::clone(&self.wanted);
        async move { wanted.changed().await }
    }

    /// Takes note of wishes. Gives the requests that tell a server that knows of everything before.
    pub(super) fn take_wishes(&mut self) -> Vec<DeltaDiscoveryRequest> {
        let mut requests = Vec::new();
        for (type_url, wishes) in self.wanted.take() {
            let Some(kind) = self.kinds.get_mut(&type_url) else {
                tracing::warn!(%type_url, "subscriptions of a type without a handler are ignored");
                continue;
            };
            let mut request = DeltaDiscoveryRequest { type_url: type_url.to_string(), ..Default::default() };
            let mut forgotten = Vec::new();
            // In the order in which the server reads them.
            for name in wishes.iter().filter_map(|(name, subscribe)| subscribe.then_some(name)) {
                if kind.held.subscribe(name) {
                    request.resource_names_subscribe.push(name.to_string());
                }
            }
            for name in wishes.iter().filter_map(|(name, subscribe)| (!subscribe).then_some(name)) {
                if let Some(dropped) = kind.held.unsubscribe(name) {
                    request.resource_names_unsubscribe.push(name.to_string());
                    forgotten.extend(dropped);
                }
            }
            if !forgotten.is_empty() {
                kind.handler.forget(forgotten);
            }
            if !(request.resource_names_subscribe.is_empty() && request.resource_names_unsubscribe.is_empty())
            {
                requests.push(request);
            }
        }
        requests
    }

    /// The requests that tell a server that knows of nothing what is subscribed to and held.
    pub(super) fn resume(&self, batch_bytes: usize) -> Vec<DeltaDiscoveryRequest> {
        self.kinds.iter().flat_map(|(type_url, kind)| kind.held.resume(type_url, batch_bytes)).collect()
    }

    /// Takes note of wishes until something else is done.
    pub(super) async fn meanwhile<F: Future>(&mut self, other: F) -> F::Output {
        let mut other = pin!(other);
        loop {
            let wishes = self.wishes();
            tokio::select! {
                output = &mut other => return output,
                () = wishes => drop(self.take_wishes()),
            }
        }
    }

    /// Passes a response to its handler. Gives the ACK, or the NACK that names what was refused.
    pub(super) fn receive(&mut self, response: DeltaDiscoveryResponse) -> DeltaDiscoveryRequest {
        let mut answer = DeltaDiscoveryRequest {
            type_url: response.type_url.clone(),
            response_nonce: response.nonce.clone(),
            ..Default::default()
        };
        let Some(kind) = self.kinds.get_mut(response.type_url.as_str()) else {
            tracing::warn!(type_url = %response.type_url, "a response of a type that was not asked for is ignored");
            return answer;
        };
        let resources = response.resources.len();
        let sorted = kind.held.sort(response);
        let versions: Vec<_> = sorted
            .updates
            .iter()
            .map(|update| (Arc::clone(&update.name), Arc::clone(&update.version)))
            .collect();
        let rejections = kind.handler.apply(sorted.updates, sorted.removed, sorted.complete);
        kind.held.accept(&versions, &rejections);
        if !rejections.is_empty() {
            for refused in &rejections {
                tracing::warn!(type_url = %answer.type_url, name = %refused.name, reason = %refused.reason,
                    "a resource was refused; the last good one stays in use");
            }
            answer.error_detail = Some(rejection::to_status(&rejections, resources));
        }
        answer
    }
}
