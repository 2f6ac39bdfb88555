//! A delta xDS client and server, generic over the resource.
//!
//! Both speak `envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources`: one stream for each
//! client that carries any number of types, incremental, with ACK and NACK. [`server::Server`] is a tonic service in
//! front of a [`server::ResourceSource`]; [`client::Client`] is a task that keeps a stream and feeds a
//! [`client::Handler`] for each type. Neither knows what a resource holds.
//!
//! ```no_run
//! use std::sync::Arc;
//!
//! use tonic::transport::Endpoint;
//! use weft_xds::client::{Builder, Changes, Config, Handler};
//! use weft_xds::Rejection;
//!
//! struct Print;
//!
//! impl Handler<String> for Print {
//!     fn apply(&mut self, changes: Changes<String>) -> Vec<Rejection> {
//!         for update in changes.updates {
//!             println!("{} is now {:?}", update.name, update.resource);
//!         }
//!         Vec::new()
//!     }
//!
//!     fn forget(&mut self, _names: Vec<Arc<str>>) {}
//! }
//!
//! # async fn example() {
//! let mut builder = Builder::new(Config::new("web-1"));
//! let texts = builder.handle::<String, _>("type.googleapis.com/google.protobuf.StringValue", Print);
//! let client = builder.build(|| async { Endpoint::from_static("http://127.0.0.1:15010").connect().await });
//! texts.subscribe("greeting");
//! client.run().await;
//! # }
//! ```
//!
//! A server's source encodes a resource once. Its version follows from its content, and its name says of which collection it is
//! a member:
//!
//! ```
//! use weft_xds::{EncodedResource, Version, collection_of, is_collection};
//!
//! const TYPE: &str = "type.googleapis.com/google.protobuf.StringValue";
//!
//! let greeting = EncodedResource::from_content(TYPE, "shop/greeting", b"hello".to_vec());
//! assert_eq!(greeting.version(), Version::of(b"hello"));
//! assert_eq!(collection_of(greeting.name()), "shop/*");
//! assert!(is_collection("shop/*"));
//! ```
//!
//! # The protocol, as it is used here
//!
//! **Subscribing.** A client names what it wants in `resource_names_subscribe`, whenever it wants it, and takes it back
//! with `resource_names_unsubscribe`. The server answers every name that is subscribed to: with the resource in
//! `resources`, or with the name in `removed_resources` if there is none, so that who waits for an unknown name learns
//! so at once. It is silent only as long as its source doesn't know yet ([`server::Lookup::Pending`]). A name that is
//! subscribed to again is answered again. If a request does both with a name, it ends unsubscribed.
//!
//! **Collections.** A name that ends with `/*`, or is `*`, is a collection: all resources whose name has the same
//! prefix and then no further `/`. Members are resources like others, with their own names and versions; one that
//! changes is sent alone, one that goes is named in `removed_resources`. Two more messages make a collection's state
//! known:
//! - a resource with the collection's own name, a version and no content: the collection exists, and all members it had
//!   have been sent. It comes once for each subscription, after the members. An answered collection without members
//!   is therefore not the same as one that was not answered;
//! - the collection's own name in `removed_resources`: there is no such collection (any more). It stands for all its
//!   members.
//!
//! A resource may be subscribed to by its name and by its collection. When a client takes back the name, the server
//! says what the collection makes of it: it sends the resource, or removes it.
//!
//! A first request of a type that names nothing subscribes to `*`, as clients do that are older than that name.
//!
//! **Versions.** The version of a resource is a hash of its content, written as 16 hexadecimal digits, so equal content
//! has an equal version on every replica and after every restart. A resource is sent only if its version differs from
//! the one that the client was last sent on this stream.
//!
//! **Resuming.** `initial_resource_versions` accompanies the subscriptions of a new stream; nothing that it holds in
//! its current version is sent, and what does not exist any more is removed. It counts for what is subscribed to by
//! the same request, so that a client with much may split what it resumes with; a collection goes with its members.
//! While the source doesn't know, nothing is removed: a server that has just started takes nothing away.
//!
//! **ACK and NACK.** One response of each type at most waits for its answer. What changes meanwhile is noted by name,
//! once, and looked up when there is room: a slow client gets the last state and not what was between, and costs no
//! more memory than what it subscribes to. A response closes at about [`server::Config::batch_bytes`]. A NACK has
//! `error_detail`, whose details hold a `google.rpc.BadRequest` with one field violation (name and reason) for each
//! resource that was refused; the others of the response were applied. Without it all resources of the response count
//! as refused. What was refused is sent again once it has another version, or on the next stream, where the client
//! says truthfully which version it holds, so that a new server learns of the refusal too.
//!
//! **Limits.** The server says in the metadata that begins its answer how many names and collections a stream may subscribe
//! to ([`MAX_SUBSCRIPTIONS`]). A client that keeps to it ([`client::Connection::Connected`]) is not cut off.
//!
//! **Ends.** The server ends a stream with `RESOURCE_EXHAUSTED` beyond its limits, `DEADLINE_EXCEEDED` without an ACK in
//! time, and with `OK` when it drains or the stream has reached its age. The client keeps what it has, and comes back
//! after a jittered exponential delay.
//!
//! Not used: state-of-the-world streams, `ttl`, `aliases`, resource locators and `xdstp://` names.

pub mod client;
mod error;
mod rejection;
mod resource;
pub mod server;

/// Metadata of a server's answer: how many names and collections, over all types, the stream may subscribe to.
pub const MAX_SUBSCRIPTIONS: &str = "weft-max-subscriptions";

pub use self::error::Error;
pub use self::rejection::Rejection;
pub use self::resource::{EncodedResource, Version, collection_of, is_collection};
