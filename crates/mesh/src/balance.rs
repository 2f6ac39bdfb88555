//! Choosing an endpoint of a service.
//!
//! Each worker has a [`Picker`] for each service, which nobody else touches: no locks. What it learned of an endpoint
//! survives a change of the set as long as the endpoint stays in it.

mod hashing;
mod load;
mod locality;
mod member;
mod picker;
mod round_robin;
#[cfg(test)]
mod tests;
mod tier;
mod weighted_random;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

pub use member::Member;
pub use picker::{Picked, Picker, View};

use crate::hash::stable_hash;
use crate::name::Identity;
use crate::outlier::OutlierPolicy;

/// What is spoken to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum TunnelProtocol {
    /// What the application speaks, in plain text: there is no proxy.
    Plain,
    /// mTLS with ALPN `weft/1` for HTTP and `weft/tcp` for the rest.
    Weft,
    /// mTLS with ALPN `h2` or `http/1.1`: a meshed peer that is not Weft.
    Standard,
}

/// Whether an endpoint takes requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Health {
    /// Takes requests.
    Ready,
    /// Takes none now.
    NotReady,
    /// Is about to end: gets no new requests, finishes those that it has.
    Draining,
    /// Took requests when it was last heard of, and nobody has said anything since: its node doesn't report any more.
    Unknown {
        /// Whether it gets requests nevertheless, which [`EndpointSet::new`] decides.
        trusted: bool,
    },
}

/// Where an endpoint or a caller is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Hash)]
pub struct Locality {
    /// Region; may be empty.
    pub region: Arc<str>,
    /// Zone within the region; may be empty.
    pub zone: Arc<str>,
}

/// One address of a service port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// Unique within the service port.
    pub id: Arc<str>,
    /// Where it listens.
    pub address: SocketAddr,
    /// Identities that it may prove; empty: it is reached in plain text.
    pub identities: Arc<[Identity]>,
    /// What is spoken to it.
    pub hop: TunnelProtocol,
    /// Share among the endpoints; 0 gets nothing.
    pub weight: u32,
    /// Whether it takes requests.
    pub health: Health,
    /// Where it is.
    pub locality: Locality,
    /// Workload that it belongs to.
    pub workload: Arc<str>,
    /// Version label of the workload; may be empty.
    pub version: Arc<str>,
    /// Whether it belongs to the caller's own workload, and can't be reached from there as others reach it.
    pub own: bool,
}

impl Endpoint {
    /// What stands for the endpoint in sessions and consistent hashing: the same in every process.
    pub fn key(&self) -> u64 {
        stable_hash(self.id.as_bytes())
    }

    /// Whether what is known of one holds for the other: they are reached at the same address in the same way.
    pub fn is_same_process(&self, other: &Self) -> bool {
        self.id == other.id
            && self.address == other.address
            && self.identities == other.identities
            && self.hop == other.hop
    }

    /// Whether it may get new requests.
    pub fn is_usable(&self) -> bool {
        matches!(self.health, Health::Ready | Health::Unknown { trusted: true }) && self.weight > 0
    }
}

/// The endpoints of a service port at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EndpointSet {
    endpoints: Vec<Arc<Endpoint>>,
}

impl EndpointSet {
    /// The set of these endpoints, each id once.
    ///
    /// Those of [unknown](Health::Unknown) health are trusted where fewer are ready than unknown. One node that is
    /// silent is likely dead, and what is left can carry its share. Where most are silent at once, it is whoever listens
    /// to them that was cut off, and they take requests as before; if not, outlier detection finds them out. At most
    /// half of what could take requests is so left out, as it is for ejection.
    pub fn new(endpoints: impl IntoIterator<Item = Arc<Endpoint>>) -> Self {
        let mut endpoints: Vec<_> = endpoints.into_iter().collect();
        let count = |is: fn(Health) -> bool| {
            endpoints.iter().filter(|endpoint| endpoint.weight > 0 && is(endpoint.health)).count()
        };
        let unknown = |health| matches!(health, Health::Unknown { .. });
        let trusted = count(|health| health == Health::Ready) < count(unknown);
        let decided = Health::Unknown { trusted };
        for endpoint in &mut endpoints {
            if unknown(endpoint.health) && endpoint.health != decided {
                Arc::make_mut(endpoint).health = decided;
            }
        }
        Self { endpoints }
    }

    /// The endpoints.
    pub fn endpoints(&self) -> &[Arc<Endpoint>] {
        &self.endpoints
    }
}

/// How to choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Algorithm {
    /// The better of two, by peak-EWMA latency times outstanding requests.
    #[default]
    PeakEwma,
    /// The better of two, by outstanding requests.
    LeastRequest,
    /// In turn.
    RoundRobin,
    /// At random.
    Random,
    /// By hash of a key, on a ring: keys move only when endpoints come or go, and then few of them.
    RingHash,
    /// By hash of a key, in Maglev's table: shares are more even than on a ring, and a few more keys move.
    Maglev,
}

/// How to balance over a service.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct BalancePolicy {
    /// How to choose among those that may be chosen.
    pub algorithm: Algorithm,
    /// Time over which a new endpoint grows to its full share; zero: none.
    pub slow_start: Duration,
    /// When to eject endpoints.
    pub outlier: OutlierPolicy,
}

/// What one request wants of its endpoint.
#[derive(Debug, Clone, Copy, Default)]
pub struct PickContext<'a> {
    /// Ids of endpoints that were tried: they are chosen again only if there is no other.
    pub tried: &'a [Arc<str>],
    /// Hash of the key for consistent hashing ([`stable_hash`] of it); without one, a request is placed at random.
    pub key: Option<u64>,
    /// [`Endpoint::key`] of the endpoint that the request's session is bound to. It is chosen if it may be.
    pub session: Option<u64>,
}

/// Why there is nothing to choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoEndpoint {
    /// The service has none.
    None,
    /// None that it has takes requests: they are not ready, or draining.
    NotReady,
}
