//! Routes, splits, policies, balancing and statistics of Weft, without I/O.
//!
//! Everything here is a pure function or a state machine: time, randomness and addresses are arguments. The proxy
//! compiles these types once, when a snapshot is built, and asks them on every request.
//!
//! | what is decided | where |
//! |---|---|
//! | who and what is named | [`name`] |
//! | what is spoken | [`protocol`] |
//! | who connected to the load balancer before the proxy | [`proxy_protocol`] |
//! | which rule a request meets, and why | [`route`], with [`pattern`] |
//! | what servers may read in a path | [`path`] |
//! | what the rule does to it | [`filter`], with [`fraction`] |
//! | which backend gets it | [`split`], with [`affinity`] and [`hash`] |
//! | which endpoint of the backend | [`balance`], with [`outlier`] |
//! | what an attempt's end says of its endpoint, and of another attempt | [`outcome`] |
//! | how much may be under way | [`limits`], [`concurrency`] |
//! | which address of a name is tried when | [`eyeballs`] |
//! | how long it may take, and whether it is tried again | [`deadline`], [`retry`], [`hedge`], with [`budget`] and [`backoff`] |
//! | when there is too much of everything | [`shedding`] |
//! | who may call | [`authorization`] |
//! | what the proxy answers itself | [`reason`] |
//! | which header fields a proxy changes | [`headers`], [`trace`], [`forwarded`] |
//! | which requests come around | [`via`] |
//! | what clients may not send, or not as much of | [`http_validation`], [`violation`] |
//! | what is counted | [`statistics`], [`rate`] |
//!
//! # A request, decided
//!
//! Which rule it meets, which backend it gets, on which endpoint, and what follows when that does not answer:
//!
//! ```
//! use std::sync::Arc;
//! use std::time::{Duration, Instant};
//!
//! use http::{HeaderMap, Method, StatusCode, Uri};
//! use weft_mesh::balance::{
//!     BalancePolicy, Endpoint, EndpointSet, Health, Locality, Picker, TunnelProtocol,
//! };
//! use weft_mesh::deadline::{Deadline, Timeouts};
//! use weft_mesh::outcome::Outcome;
//! use weft_mesh::retry::{AttemptOutcome, AttemptState, Decision, RetryPolicy, decide};
//! use weft_mesh::route::{Backend, HttpRoute, HttpRule, RequestParts, ResourceRef, RouteTable, Target};
//! use weft_mesh::split::Split;
//!
//! // A route with one rule that splits: nine of ten to v1.
//! let split = Split::new([("v1", 9, Backend::new("reviews-v1")), ("v2", 1, Backend::new("reviews-v2"))]);
//! let route = HttpRoute {
//!     id: ResourceRef::new("HTTPRoute", "shop", "reviews"),
//!     hostnames: Vec::new(),
//!     rules: vec![HttpRule::to(split)],
//! };
//! let table = RouteTable::compile([route]);
//!
//! let (method, headers) = (Method::GET, HeaderMap::new());
//! let uri = Uri::from_static("http://reviews:9080/reviews/1");
//! let found = table.find(&RequestParts::new(&method, &uri, &headers)).expect("the rule takes everything");
//! assert_eq!(found.route.to_string(), "HTTPRoute shop/reviews");
//! // Randomness is an argument.
//! let backend = found.rule.backends.choose(7).expect("there are weights");
//! assert!(matches!(backend.target, Target::Valid("reviews-v1" | "reviews-v2")));
//!
//! // Of the backend's endpoints, one that takes requests.
//! let now = Instant::now();
//! let endpoint = |id: &str, address: &str, health| {
//!     Arc::new(Endpoint {
//!         id: id.into(),
//!         address: address.parse().expect("an address"),
//!         identities: Arc::new([]),
//!         hop: TunnelProtocol::Plain,
//!         weight: 1,
//!         health,
//!         locality: Locality::default(),
//!         workload: id.into(),
//!         version: "v1".into(),
//!         own: false,
//!     })
//! };
//! let endpoints = EndpointSet::new([
//!     endpoint("a", "10.0.0.1:9080", Health::Draining),
//!     endpoint("b", "10.0.0.2:9080", Health::Ready),
//! ]);
//! let mut picker = Picker::new(BalancePolicy::default());
//! picker.update(&endpoints, now);
//! let picked = picker.pick(now, 7, &[]).expect("one takes requests");
//! assert_eq!(&*picked.member.endpoint().id, "b");
//! picker.ended(&picked, now, Outcome::GatewayFailure, Some(Duration::from_millis(3)), 7);
//!
//! // It answers 503, which the route has retried, within its budget.
//! let policy = RetryPolicy::new(2, [503], [], Some(Duration::from_millis(25)));
//! let happened = AttemptOutcome::Response {
//!     status: StatusCode::SERVICE_UNAVAILABLE,
//!     grpc_status: None,
//!     gave_up: false,
//!     pushback: None,
//! };
//! let deadline = Deadline::new(now, Timeouts::default(), None);
//! let attempted = AttemptState { retries: 0, elsewhere: false, replayable: true, deadline };
//! let decision = decide(Some(&policy), happened, attempted, || true, now, 7);
//! assert!(matches!(decision, Decision::Retry { after } if after >= Duration::from_millis(25)));
//! ```

mod error;

pub mod affinity;
pub mod authorization;
pub mod backoff;
pub mod balance;
pub mod budget;
pub mod concurrency;
pub mod deadline;
pub mod eyeballs;
pub mod filter;
pub mod forwarded;
pub mod fraction;
pub mod hash;
pub mod headers;
pub mod hedge;
pub mod http_validation;
pub mod limits;
pub mod name;
pub mod outcome;
pub mod outlier;
pub mod path;
pub mod pattern;
pub mod protocol;
pub mod proxy_protocol;
pub mod rate;
pub mod reason;
pub mod retry;
pub mod route;
pub mod shedding;
pub mod split;
pub mod statistics;
pub mod trace;
pub mod via;
pub mod violation;

pub use error::Error;
