//! Who opened a connection, and for how long that is believed.

use std::cell::{Cell, RefCell};
use std::pin::pin;
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use tokio_util::sync::CancellationToken;
use weft_identity::{Generation, Lineage, Revoked, TrustBundle};
use weft_mesh::name::Identity;

use crate::observe::stats::{Retirement, Stats};
use crate::transport::proxy_protocol::Peer;

/// Connections that are verified again in one sweep: each takes about as long as a request.
const CHECKS: usize = 64;

/// Who opened a connection.
#[derive(Debug)]
pub(crate) struct Caller {
    /// Where it comes from.
    pub(crate) peer: Peer,
    /// What it proved to be; `None` in plain text.
    pub(crate) identity: Option<Identity>,
    proof: Option<Rc<Proof>>,
}

/// What a caller proved its identity by.
#[derive(Debug)]
struct Proof {
    chain: Vec<CertificateDer<'static>>,
    /// What the leaf says, for what is revoked later.
    identity: Identity,
    lineage: Option<Lineage>,
    /// The roots by which it was last verified.
    bundle: RefCell<Arc<TrustBundle>>,
    /// Ends the connection when what is under way on it has ended.
    drain: CancellationToken,
    /// Ends an opaque connection at once.
    cut: CancellationToken,
    /// Ends the connection at once, whatever is under way on it.
    revoked: Cell<bool>,
    /// Who serves the connection.
    serving: RefCell<Option<Waker>>,
}

/// The callers of one worker that proved who they are, and whom opaque connections were made to.
#[derive(Debug, Default)]
pub(crate) struct Proven(RefCell<Vec<Weak<Proof>>>);

impl Caller {
    /// A caller in plain text.
    pub(crate) fn plain(peer: Peer) -> Self {
        Self { peer, identity: None, proof: None }
    }

    /// What drains its connection: that of the whole proxy, `drain`, or that it is believed no longer.
    pub(crate) fn drain(&self, drain: &CancellationToken) -> CancellationToken {
        self.proof.as_ref().map_or_else(|| drain.clone(), |proof| proof.drain.clone())
    }

    /// Serves the caller's connection until that ends, or the caller is revoked.
    pub(crate) async fn serve(&self, serving: impl Future<Output = ()>) {
        let Some(proof) = &self.proof else { return serving.await };
        let mut serving = pin!(serving);
        std::future::poll_fn(|cx| {
            if proof.revoked.get() {
                return Poll::Ready(());
            }
            let served = serving.as_mut().poll(cx);
            if served.is_pending() {
                let mut waker = proof.serving.borrow_mut();
                if !waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                    *waker = Some(cx.waker().clone());
                }
            }
            served
        })
        .await;
    }

    /// Ready when the caller is believed no longer.
    pub(crate) async fn disbelieved(&self) {
        match &self.proof {
            Some(proof) => proof.cut.cancelled().await,
            None => std::future::pending().await,
        }
    }
}

impl Proven {
    /// A caller, or who answered an opaque connection, that proved to be `identity` by `chain`, with the roots of
    /// `generation`; `drain` is that of the whole proxy.
    pub(crate) fn caller(
        &self,
        peer: Peer,
        identity: Identity,
        chain: &[CertificateDer<'static>],
        generation: &Generation,
        drain: &CancellationToken,
    ) -> Caller {
        let proof = Rc::new(Proof {
            chain: chain.to_vec(),
            identity: identity.clone(),
            // One that can't be read was refused already if anything is revoked, and is as soon as something is.
            lineage: chain.first().and_then(|leaf| Lineage::of(leaf).ok()).flatten(),
            bundle: RefCell::new(Arc::clone(generation.bundle())),
            drain: drain.child_token(),
            cut: CancellationToken::new(),
            revoked: Cell::new(false),
            serving: RefCell::default(),
        });
        self.0.borrow_mut().push(Rc::downgrade(&proof));
        Caller { peer, identity: Some(identity), proof: Some(proof) }
    }

    /// Ends connections whose callers are revoked, at once; and those that no root in force vouches for any more: of opaque
    /// bytes at once, others when what is under way on them has ended. To be called about every second; after a change
    /// each call verifies the chains of some.
    pub(crate) fn sweep(&self, generation: &Generation, now: SystemTime, stats: &Stats) {
        let mut proven = self.0.borrow_mut();
        proven.retain(|proof| proof.strong_count() > 0);
        for proof in proven.iter().filter_map(Weak::upgrade) {
            if !Arc::ptr_eq(&proof.bundle.borrow(), generation.bundle()) {
                proof.check(generation.bundle().revoked(), stats);
            }
        }
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

impl Proof {
    /// Ends the connection if what its caller showed is revoked.
    fn check(&self, revoked: &Revoked, stats: &Stats) {
        let (token, issued_at) = match &self.lineage {
            Some(lineage) => (lineage.token(), Some(lineage.issued_at)),
            None => (None, None),
        };
        if self.revoked.get() {
            return;
        }
        if let Err(error) = revoked.check(&self.identity, token, issued_at) {
            tracing::info!(%error, "a connection ends");
            stats.retired(Retirement::Trust);
            self.revoked.set(true);
            self.drain.cancel();
            self.cut.cancel();
            if let Some(waker) = self.serving.take() {
                waker.wake();
            }
        }
    }
}
