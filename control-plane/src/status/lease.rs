//! Which replica writes what one has to write for all, status and roots: the one that holds the Lease.
//!
//! Nobody's clock is compared with another's: who wants the Lease waits until its holder has not renewed it for the whole
//! of its duration, by the own clock. The holder stops well before that.

use std::time::{Duration, Instant};

use k8s_openapi::api::coordination::v1::{Lease as Object, LeaseSpec};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Client;
use kube::api::{Api, ObjectMeta, PostParams};

use crate::compile::SYSTEM_NAMESPACE;

const NAME: &str = "weft-status";
/// How long a holder that is silent keeps it.
const DURATION: Duration = Duration::from_secs(15);
/// How often it is renewed, and looked at by who wants it.
const EVERY: Duration = Duration::from_secs(5);
/// How long after the last renewal the holder still takes itself for one.
const TRUST: Duration = Duration::from_secs(10);

/// The right to write.
pub(crate) struct Lease {
    api: Api<Object>,
    me: String,
    /// As somebody else holds it: the version of the object, and since when that has not changed.
    seen: Option<(String, Instant)>,
}

impl Lease {
    pub(crate) fn new(client: Client) -> Self {
        let host = std::env::var("HOSTNAME").unwrap_or_else(|_| "control-plane".to_owned());
        let me = format!("{host}-{:08x}", fastrand::u32(..));
        Self { api: Api::namespaced(client, SYSTEM_NAMESPACE), me, seen: None }
    }

    /// Does this work, which does not end, whenever and as long as this replica holds the Lease. Never returns.
    pub(crate) async fn hold<F: Future<Output = ()>>(mut self, work: impl Fn() -> F) {
        loop {
            while !self.tried().await {
                tokio::time::sleep(EVERY).await;
            }
            tracing::info!(holder = self.me, "this replica writes status and roots");
            tokio::select! {
                () = work() => {}
                () = self.keep() => {}
            }
            tracing::info!(holder = self.me, "this replica does not write status and roots any more");
        }
    }

    /// Renews it; returns when it can't be trusted any more.
    async fn keep(&mut self) {
        let mut renewed = Instant::now();
        while renewed.elapsed() < TRUST {
            tokio::time::sleep(EVERY).await;
            if matches!(tokio::time::timeout(EVERY, self.tried()).await, Ok(true)) {
                renewed = Instant::now();
            }
        }
    }

    /// Takes or renews it; false when it is somebody else's, or nobody can say.
    async fn tried(&mut self) -> bool {
        match self.attempt().await {
            Ok(holds) => holds,
            Err(error) => {
                tracing::debug!(%error, "can't take the Lease for writing status now");
                false
            }
        }
    }

    async fn attempt(&mut self) -> Result<bool, kube::Error> {
        let Some(mut lease) = self.api.get_opt(NAME).await? else {
            let lease = Object {
                metadata: ObjectMeta { name: Some(NAME.to_owned()), ..ObjectMeta::default() },
                spec: Some(self.spec(None)),
            };
            return won(self.api.create(&PostParams::default(), &lease).await);
        };
        let spec = lease.spec.take().unwrap_or_default();
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        let holder = spec.holder_identity.as_deref().unwrap_or_default();
        if holder != self.me && !holder.is_empty() && !self.is_silent(version) {
            return Ok(false);
        }
        lease.spec = Some(self.spec(Some(&spec)));
        // With the version that was read: who was faster wins.
        won(self.api.replace(NAME, &PostParams::default(), &lease).await)
    }

    /// Whether the holder has not renewed it for its whole duration.
    fn is_silent(&mut self, version: String) -> bool {
        match &self.seen {
            Some((seen, since)) if *seen == version => since.elapsed() >= DURATION,
            _ => {
                self.seen = Some((version, Instant::now()));
                false
            }
        }
    }

    fn spec(&self, before: Option<&LeaseSpec>) -> LeaseSpec {
        let now = MicroTime(jiff::Timestamp::now());
        let mine = before.filter(|spec| spec.holder_identity.as_deref() == Some(&self.me));
        let transitions = before.and_then(|spec| spec.lease_transitions).unwrap_or_default();
        LeaseSpec {
            holder_identity: Some(self.me.clone()),
            lease_duration_seconds: i32::try_from(DURATION.as_secs()).ok(),
            acquire_time: mine.and_then(|spec| spec.acquire_time.clone()).or_else(|| Some(now.clone())),
            lease_transitions: Some(transitions + i32::from(before.is_some() && mine.is_none())),
            renew_time: Some(now),
            ..LeaseSpec::default()
        }
    }
}

fn won(written: Result<Object, kube::Error>) -> Result<bool, kube::Error> {
    match written {
        Ok(_) => Ok(true),
        Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
        Err(error) => Err(error),
    }
}
