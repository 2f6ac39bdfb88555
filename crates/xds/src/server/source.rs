//! What the control plane brings: the resources, who the caller is, and ears for what happens.

use std::sync::Arc;
use std::time::Duration;

use tonic::Status;
use tonic::metadata::MetadataMap;

use crate::{EncodedResource, Rejection};

/// Who a stream was authenticated as, before it said anything.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Peer {
    /// The SPIFFE id.
    pub identity: Arc<str>,
    /// The namespace in it.
    pub namespace: Arc<str>,
}

/// The client that a resource is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientContext {
    /// Tells this stream from every other of this server; grows with every stream.
    pub id: u64,
    /// The authenticated SPIFFE id.
    pub identity: Arc<str>,
    /// The namespace of the identity.
    pub namespace: Arc<str>,
    /// What the client calls itself (`Node.id` of its first request); it is not authenticated.
    pub node_id: Arc<str>,
}

/// Finds out who opened a stream, from its headers and from what the transport left in its extensions (such as the
/// peer's certificate). An error ends the call before anything is read from it.
pub trait Identify: Send + Sync + 'static {
    /// Who the caller is; `UNAUTHENTICATED` or `PERMISSION_DENIED` to refuse.
    fn identify(&self, headers: &MetadataMap, extensions: &http::Extensions) -> Result<Peer, Status>;
}

impl<F> Identify for F
where
    F: Fn(&MetadataMap, &http::Extensions) -> Result<Peer, Status> + Send + Sync + 'static,
{
    fn identify(&self, headers: &MetadataMap, extensions: &http::Extensions) -> Result<Peer, Status> {
        self(headers, extensions)
    }
}

/// The answer for one name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Lookup {
    /// The resource as it is now.
    Found(Arc<EncodedResource>),
    /// There is none: the client is told so.
    Absent,
    /// Not known yet: the client keeps what it has, and is answered once the name is told as changed.
    Pending,
}

/// The answer for a collection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Members {
    /// The collection exists and has these members, perhaps none.
    Found(Vec<Arc<EncodedResource>>),
    /// There is no such collection: the client is told so.
    Absent,
    /// Not known yet: the client keeps what it has, and is answered once the collection is told as changed.
    Pending,
}

/// Where resources come from.
///
/// It is asked while a stream is being served, so it answers from memory. It may hold its own locks while it calls
/// [`Notifier::changed`](super::Notifier::changed), but not while it calls anything of [`Server`](super::Server).
pub trait ResourceSource: Send + Sync + 'static {
    /// The resource of this type and name, in the variant for this client. Also asked for each member of a
    /// collection. Equal content should be the same allocation for every client that may share it.
    fn resource(&self, client: &ClientContext, type_url: &str, name: &str) -> Lookup;

    /// The members of a collection (`prefix/*`): each named `prefix/` and then something without `/`.
    fn members(&self, client: &ClientContext, type_url: &str, collection: &str) -> Members;
}

/// Hears what happens on streams, for metrics, logs and status. Called in the middle of serving: be quick.
pub trait Observer: Send + Sync + 'static {
    /// A client sent its first request.
    fn connected(&self, _client: &ClientContext) {}
    /// Its stream is over, and why.
    fn disconnected(&self, _client: &ClientContext, _reason: &str) {}
    /// A response was queued: how many resources and removals, and how many bytes of resources.
    fn sent(
        &self,
        _client: &ClientContext,
        _type_url: &str,
        _resources: usize,
        _removed: usize,
        _bytes: usize,
    ) {
    }
    /// A response was accepted, this long after it was queued.
    fn accepted(&self, _client: &ClientContext, _type_url: &str, _after: Duration) {}
    /// A response was refused: the client's message, and the resources it refused. The last good ones stay in use
    /// there.
    fn refused(&self, _client: &ClientContext, _type_url: &str, _message: &str, _rejections: &[Rejection]) {}
}

impl Observer for () {}
