//! Opaque connections, which last for as long as policies let their peers in.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;

use tokio_util::sync::CancellationToken;
use weft_mesh::authorization::Call;

use super::{Context, Upstream};
use crate::observe::stats::{Retirement, Stats};
use crate::snapshot;

/// The opaque connections of one worker. Requests are let in one by one; such a connection was let in once, perhaps long
/// ago.
#[derive(Debug, Default)]
pub(super) struct OpaqueConnections(RefCell<Vec<Weak<Admitted>>>);

/// One connection.
#[derive(Debug)]
pub(super) struct Admitted {
    upstream: Rc<Upstream>,
    /// By what it was last let in.
    policies: RefCell<Arc<snapshot::Inbound>>,
    cut: CancellationToken,
}

impl Admitted {
    /// Ready when policies do not let the peer in any more.
    pub(super) async fn banned(&self) {
        self.cut.cancelled().await;
    }
}

impl OpaqueConnections {
    fn sweep_one(admitted: &Admitted, policies: &Arc<snapshot::Inbound>, stats: &Stats) {
        admitted.policies.borrow_mut().clone_from(policies);
        let upstream = &admitted.upstream;
        if !is_allowed(policies, upstream) {
            stats.retired(Retirement::Policy);
            tracing::info!(peer = %upstream.peer, port = upstream.port, "connection ended by policy");
            admitted.cut.cancel();
        }
    }

    /// Ends connections whose peers are let in no longer. To be called about every second.
    pub(super) fn sweep(&self, policies: &Arc<snapshot::Inbound>, stats: &Stats) {
        let mut live = self.0.borrow_mut();
        live.retain(|admitted| admitted.strong_count() > 0);
        for admitted in live.iter().filter_map(Weak::upgrade) {
            if !Arc::ptr_eq(&admitted.policies.borrow(), policies) {
                Self::sweep_one(&admitted, policies, stats);
            }
        }
    }
}

impl Context {
    /// Watches over an opaque connection that `policies` have let in, for as long as what is given is held.
    pub(super) fn admit(&self, upstream: &Rc<Upstream>, policies: Arc<snapshot::Inbound>) -> Rc<Admitted> {
        let admitted = Rc::new(Admitted {
            upstream: Rc::clone(upstream),
            policies: RefCell::new(policies),
            cut: CancellationToken::new(),
        });
        self.live.0.borrow_mut().push(Rc::downgrade(&admitted));
        admitted
    }
}

/// Whether policies let in opaque bytes of a peer.
pub(super) fn is_allowed(policies: &snapshot::Inbound, upstream: &Upstream) -> bool {
    let call = Call {
        identity: upstream.identity.as_ref(),
        source: upstream.peer.ip(),
        port: upstream.port,
        http: None,
    };
    policies.port(upstream.port).authorization.decide(&call).allowed
}
