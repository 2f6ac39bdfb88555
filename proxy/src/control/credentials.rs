//! The certificate and the roots in use.

use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::watch;
use weft_identity::tls::{ALPN_H2, ALPN_HTTP11, ALPN_WEFT, ALPN_WEFT_TCP};
use weft_identity::{Generation, TrustBundle, WorkloadCertificate};

use super::serial;
use crate::snapshot::Tls;

/// What an inbound proxy speaks, the best first.
const ALPN: [&[u8]; 4] = [ALPN_WEFT, ALPN_WEFT_TCP, ALPN_H2, ALPN_HTTP11];

#[derive(Debug)]
struct Held {
    number: u64,
    certificate: Option<WorkloadCertificate>,
    bundle: Arc<TrustBundle>,
    /// Whether discovery has told the roots: its word counts more than what came along with a certificate.
    discovered: bool,
}

/// Holds certificate and roots, and makes the TLS configurations anew when either changes.
#[derive(Debug)]
pub(super) struct Credentials {
    held: Mutex<Held>,
    tls: watch::Sender<Option<Arc<Tls>>>,
}

impl Credentials {
    pub(super) fn new() -> Self {
        let held = Held { number: 0, certificate: None, bundle: Arc::default(), discovered: false };
        Self { held: Mutex::new(held), tls: watch::Sender::new(None) }
    }

    /// The configurations in use, now and later.
    pub(super) fn watch(&self) -> watch::Receiver<Option<Arc<Tls>>> {
        self.tls.subscribe()
    }

    /// The configurations in use.
    pub(super) fn tls(&self) -> Option<Arc<Tls>> {
        self.tls.borrow().clone()
    }

    /// The roots in use.
    pub(super) fn bundle(&self) -> Arc<TrustBundle> {
        Arc::clone(&self.held.lock().bundle)
    }

    /// A certificate was issued, together with the roots that its issuer believes.
    pub(super) fn issued(&self, certificate: WorkloadCertificate, bundle: TrustBundle) {
        let mut held = self.held.lock();
        held.certificate = Some(certificate);
        if !held.discovered {
            held.bundle = Arc::new(bundle);
        }
        self.renew(&mut held);
    }

    /// The same, from a control plane that the roots in use do not know: what discovery has told of roots before was told
    /// by another.
    pub(super) fn joined(&self, certificate: WorkloadCertificate, bundle: TrustBundle) {
        self.held.lock().discovered = false;
        self.issued(certificate, bundle);
    }

    /// Discovery told the roots. Says whether that changes whom this proxy believes.
    pub(super) fn discovered(&self, bundle: TrustBundle) -> bool {
        let mut held = self.held.lock();
        held.discovered = true;
        if *held.bundle == bundle {
            return false;
        }
        held.bundle = Arc::new(bundle);
        self.renew(&mut held);
        true
    }

    fn renew(&self, held: &mut Held) {
        let Some(certificate) = held.certificate.clone() else { return };
        held.number += 1;
        let serial = certificate.chain().first().and_then(|leaf| serial::of(leaf)).unwrap_or_default();
        let generation = Generation::new(certificate, Arc::clone(&held.bundle));
        self.tls.send_replace(Some(Arc::new(Tls::new(held.number, generation, serial, &ALPN))));
    }
}
