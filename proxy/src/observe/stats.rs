//! Counters of all threads: workers add to them without waiting, the control thread reads them.

mod cause;
mod counters;
mod edge;
mod edges;
mod exposition;
mod kept;
mod latency;
mod process;
mod refusals;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use weft_identity::Reason as RefusalReason;
use weft_mesh::violation::Violation;

use self::counters::{Counter, Counters};
use self::edges::Edges;
use self::refusals::Refusals;

pub use self::cause::Cause;
pub use self::counters::{
    AccessLogOutcome, AuthorizationOutcome, Direction, GlobalLimitOutcome, HedgeOutcome, LookupOutcome,
    OpenConnection, Retirement, RetryOutcome, ShedCause,
};
pub use self::edge::{Edge, EdgeKey, Outcome, Security, Totals};
pub use self::exposition::{Exposition, Format};
pub use self::kept::KeptEdges;
pub use self::process::resident_memory;

/// Time after which an edge that no worker holds and that carries nothing loses its own series.
pub const EDGE_IDLE: Duration = Duration::from_mins(10);
/// Edges that have series of their own, half of them for each direction; the traffic of more is counted together.
pub const EDGES_MAX: usize = 10_000;
/// Time between looks at which edges have ended.
const SWEEP_EVERY: Duration = Duration::from_mins(1);

/// What the proxy counts. Every method may be called on any thread; none waits for another thread for longer than it
/// takes to look something up.
#[derive(Debug, Default)]
pub struct Stats {
    counters: Arc<Counters>,
    edges: Edges,
    swept: Mutex<Option<Instant>>,
    refusals: Refusals,
}

impl Stats {
    /// A new shard of an edge's counters, for the calling worker alone: it adds to it without disturbing other
    /// workers, and keeps it for as long as it uses the edge. Shards with the same key are summed when they are read.
    pub fn edge(&self, key: EdgeKey) -> Arc<Edge> {
        self.edges.shard(key, Instant::now())
    }

    /// Counts a request, or connection, that the proxy answered itself.
    pub fn answered(&self, direction: Direction, cause: Cause) {
        self.counters.add(Counter::Answer(direction, cause));
    }

    /// Requests and connections that were answered for this reason.
    #[cfg(test)]
    pub(crate) fn answers(&self, direction: Direction, reason: weft_mesh::reason::Reason) -> u64 {
        self.counters.get(Counter::Answer(direction, Cause::Failed(reason)))
    }

    /// Counts what a client did that it must not.
    pub fn violated(&self, direction: Direction, violation: Violation) {
        self.counters.add(Counter::Violation(direction, violation));
    }

    /// How often clients did this.
    #[cfg(test)]
    pub(crate) fn violations(&self, direction: Direction, violation: Violation) -> u64 {
        self.counters.get(Counter::Violation(direction, violation))
    }

    /// Counts how a destination was looked up.
    pub fn looked_up(&self, outcome: LookupOutcome) {
        self.counters.add(Counter::Lookup(outcome));
    }

    /// Destinations that were looked up with this outcome.
    #[cfg(test)]
    pub(crate) fn lookups(&self, outcome: LookupOutcome) -> u64 {
        self.counters.get(Counter::Lookup(outcome))
    }

    /// Counts a retry that was made, a request that went to another endpoint, or a retry that the budget did not allow.
    pub fn retry(&self, outcome: RetryOutcome) {
        self.counters.add(Counter::Retry(outcome));
    }

    /// Retries of which this became.
    #[cfg(test)]
    pub(crate) fn retries(&self, outcome: RetryOutcome) -> u64 {
        self.counters.get(Counter::Retry(outcome))
    }

    /// Counts an attempt beside another one, or what became of it.
    pub fn hedged(&self, outcome: HedgeOutcome) {
        self.counters.add(Counter::Hedge(outcome));
    }

    /// Attempts beside others of which this became.
    #[cfg(test)]
    pub(crate) fn hedges(&self, outcome: HedgeOutcome) -> u64 {
        self.counters.get(Counter::Hedge(outcome))
    }

    /// Counts a question to a service that keeps a limit for all proxies.
    pub fn globally_limited(&self, outcome: GlobalLimitOutcome) {
        self.counters.add(Counter::GlobalLimit(outcome));
    }

    /// Questions about limits of all proxies that were answered so.
    #[cfg(test)]
    pub(crate) fn global_limits(&self, outcome: GlobalLimitOutcome) -> u64 {
        self.counters.get(Counter::GlobalLimit(outcome))
    }

    /// Counts a request or connection that was shed.
    pub fn shed(&self, cause: ShedCause) {
        self.counters.add(Counter::Shed(cause));
    }

    /// Requests and connections that were shed for this cause.
    #[cfg(test)]
    pub(crate) fn sheds(&self, cause: ShedCause) -> u64 {
        self.counters.get(Counter::Shed(cause))
    }

    /// Counts a copy that was not sent because too many were under way.
    pub fn unmirrored(&self) {
        self.counters.add(Counter::Unmirrored);
    }

    /// Copies that were not sent.
    #[cfg(test)]
    pub(crate) fn unmirrored_requests(&self) -> u64 {
        self.counters.get(Counter::Unmirrored)
    }

    /// Counts a body that is not kept for sending it again, because so much is kept already.
    pub fn unkept(&self) {
        self.counters.add(Counter::Unkept);
    }

    /// Bodies that were not kept.
    #[cfg(test)]
    pub(crate) fn unkept_bodies(&self) -> u64 {
        self.counters.get(Counter::Unkept)
    }

    /// Counts a connection of a client that was refused because there were as many as may be.
    pub fn refused_connection(&self, direction: Direction) {
        self.counters.add(Counter::RefusedConnection(direction));
    }

    /// Connections that were refused because there were as many as may be.
    #[cfg(test)]
    pub(crate) fn refused_connections(&self, direction: Direction) -> u64 {
        self.counters.get(Counter::RefusedConnection(direction))
    }

    /// Counts the ejection of an endpoint.
    pub fn ejected(&self) {
        self.counters.add(Counter::Ejection);
    }

    /// Ejections so far.
    #[cfg(test)]
    pub(crate) fn ejections(&self) -> u64 {
        self.counters.get(Counter::Ejection)
    }

    /// Counts what became of a line of the access log.
    pub fn access_logged(&self, outcome: AccessLogOutcome) {
        self.counters.add(Counter::AccessLog(outcome));
    }

    /// Lines of the access log that this became of.
    #[cfg(test)]
    pub(crate) fn access_lines(&self, outcome: AccessLogOutcome) -> u64 {
        self.counters.get(Counter::AccessLog(outcome))
    }

    /// Counts a connection that was taken out of use.
    pub fn retired(&self, cause: Retirement) {
        self.counters.add(Counter::Retirement(cause));
    }

    /// Connections that were taken out of use for a cause.
    #[cfg(test)]
    pub(crate) fn retirements(&self, cause: Retirement) -> u64 {
        self.counters.get(Counter::Retirement(cause))
    }

    /// Counts a decision of authorization.
    pub fn authorized(&self, outcome: AuthorizationOutcome) {
        self.counters.add(Counter::Authorization(outcome));
    }

    /// How many connections are open.
    pub(crate) fn open_connections(&self, direction: Direction) -> u64 {
        let counters = &self.counters;
        counters.get(Counter::Opened(direction)) - counters.get(Counter::Closed(direction))
    }

    /// Counts a connection for as long as the guard lives.
    pub fn connection(&self, direction: Direction) -> OpenConnection {
        OpenConnection::new(&self.counters, direction)
    }

    /// TLS handshakes of peers that were refused so far, for whatever reason.
    #[cfg(test)]
    pub(crate) fn refusals(&self) -> u64 {
        RefusalReason::ALL.into_iter().map(|reason| self.counters.get(Counter::Refusal(reason))).sum()
    }

    /// Counts a TLS handshake of a peer that was refused. The first refusal of a peer for a reason is logged, later
    /// ones at most once a minute with how many there were. `detail` says what is wrong, for people.
    pub fn refused(&self, peer: SocketAddr, reason: RefusalReason, detail: &dyn std::fmt::Display) {
        self.counters.add(Counter::Refusal(reason));
        self.refusals.note(peer.ip(), reason, detail, Instant::now());
    }

    /// The sums of every edge that has carried something of late, over all its shards.
    pub fn edges(&self) -> Vec<(EdgeKey, Totals)> {
        self.edges.read()
    }

    /// The sums of all edges that there were since the proxy started: those that have ended are put together without the
    /// names of their workloads.
    pub fn edges_of_all_time(&self) -> BTreeMap<EdgeKey, Totals> {
        self.edges.read_all()
    }

    /// Ends the series of edges that no worker holds and that have carried nothing for [`EDGE_IDLE`]. To be called now and
    /// then by anybody; it looks once a minute.
    pub fn sweep(&self, now: Instant) {
        let Some(mut swept) = self.swept.try_lock() else { return };
        if swept.is_some_and(|swept| now.saturating_duration_since(swept) < SWEEP_EVERY) {
            return;
        }
        *swept = Some(now);
        self.edges.sweep(now);
    }

    /// Shards of all edges.
    #[cfg(test)]
    pub(crate) fn shards(&self) -> usize {
        self.edges.shards()
    }
}
