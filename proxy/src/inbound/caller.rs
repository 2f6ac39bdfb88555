//! Who opened a connection, and for how long that is believed.

use std::cell::RefCell;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use tokio_util::sync::CancellationToken;
use weft_identity::{Generation, TrustBundle};
use weft_mesh::name::Identity;

use crate::stats::{Retirement, Stats};
use crate::stream::announced::Peer;

/// Connections that are verified again in one sweep: each takes about as long as a request.
const CHECKS: usize = 64;

/// Who opened a connection.
#[derive(Debug)]
pub(super) struct Caller {
    /// Where it comes from.
    pub(super) peer: Peer,
    /// What it proved to be; `None` in plain text.
    pub(super) identity: Option<Identity>,
    proof: Option<Rc<Proof>>,
}

/// What a caller proved its identity by.
#[derive(Debug)]
struct Proof {
    chain: Vec<CertificateDer<'static>>,
    /// The roots by which it was last verified.
    bundle: RefCell<Arc<TrustBundle>>,
    /// Ends the connection when what is under way on it has ended.
    drain: CancellationToken,
    /// Ends the connection at once.
    cut: CancellationToken,
}

/// The callers of one worker that proved who they are.
#[derive(Debug, Default)]
pub(super) struct Proven(RefCell<Vec<Weak<Proof>>>);

impl Caller {
    /// A caller in plain text.
    pub(super) fn plain(peer: Peer) -> Self {
        Self { peer, identity: None, proof: None }
    }

    /// What drains its connection: that of the whole proxy, `drain`, or that it is believed no longer.
    pub(super) fn drain(&self, drain: &CancellationToken) -> CancellationToken {
        self.proof.as_ref().map_or_else(|| drain.clone(), |proof| proof.drain.clone())
    }

    /// Ready when the caller is believed no longer.
    pub(super) async fn disbelieved(&self) {
        match &self.proof {
            Some(proof) => proof.cut.cancelled().await,
            None => std::future::pending().await,
        }
    }
}

impl Proven {
    /// A caller that proved to be `identity` by `chain`, with the roots of `generation`; `drain` is that of the whole
    /// proxy.
    pub(super) fn caller(
        &self,
        peer: Peer,
        identity: Identity,
        chain: &[CertificateDer<'static>],
        generation: &Generation,
        drain: &CancellationToken,
    ) -> Caller {
        let proof = Rc::new(Proof {
            chain: chain.to_vec(),
            bundle: RefCell::new(Arc::clone(generation.bundle())),
            drain: drain.child_token(),
            cut: CancellationToken::new(),
        });
        self.0.borrow_mut().push(Rc::downgrade(&proof));
        Caller { peer, identity: Some(identity), proof: Some(proof) }
    }

    /// Ends connections that no root in force vouches for any more: those of opaque bytes at once, others when what is
    /// under way on them has ended. To be called about every second; after a change of roots each call verifies some.
    pub(super) fn sweep(&self, generation: &Generation, now: SystemTime, stats: &Stats) {
        let mut proven = self.0.borrow_mut();
        proven.retain(|proof| proof.strong_count() > 0);
        let unchecked = proven
            .iter()
            .filter_map(Weak::upgrade)
            .filter(|proof| !Arc::ptr_eq(&proof.bundle.borrow(), generation.bundle()));
        for proof in unchecked.take(CHECKS) {
            proof.bundle.borrow_mut().clone_from(generation.bundle());
            if let Err(error) = generation.verify_client(&proof.chain, now) {
                tracing::info!(%error, "a connection ends whose peer is believed no longer");
                stats.retired(Retirement::Trust);
                proof.drain.cancel();
                proof.cut.cancel();
            }
        }
    }
}
