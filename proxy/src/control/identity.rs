//! Getting and keeping the workload's certificate.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use tokio::sync::{mpsc, oneshot};
use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};
use weft_identity::rotation::retry_after;
use weft_identity::{Freshness, KeyAndCsr, Rotation, TrustBundle, WorkloadCertificate};
use weft_proto::v1;
use weft_proto::v1::identity_client::IdentityClient;

use super::bootstrap_credential::Proof;
use super::credentials::Credentials;
use super::error::Error;
use super::revoked::revoked;
use super::serial;
use super::transport::{Joined, Transport};
use crate::runtime::status::Status;
use crate::runtime::wall_clock::Clock;

/// Time for the control plane to sign.
const ISSUE_TIMEOUT: Duration = Duration::from_secs(10);

/// Asks for certificates: the first one with the join token, later ones with the certificate itself as long as peers
/// accept that. When the control plane refuses one of the two, the other is tried: it may know of a token what it has
/// lost of certificates, and a token ends sooner. The token of a service account is shown each time, so that Kubernetes is
/// asked whether it is still good. A control plane that is not known any more, because its authority was lost, is asked for
/// a certificate at once, and not when the one in use needs to be renewed.
#[derive(Debug)]
pub(super) struct Issuance {
    pub(super) transport: Arc<Transport>,
    pub(super) credentials: Arc<Credentials>,
    pub(super) status: Arc<Status>,
    pub(super) proof: Proof,
    pub(super) clock: Clock,
}

/// Who wants to know how a demanded rotation ended.
type Demand = oneshot::Sender<Result<String, String>>;

/// Why it is time to ask.
enum Due {
    /// The certificate is half way through its life, or the wait after a failure is over.
    InTime,
    /// The control plane and this proxy do not believe each other's certificates.
    Estranged,
    Demanded(Demand),
}

impl Issuance {
    /// Never returns.
    pub(super) async fn run(self, mut demanded: mpsc::Receiver<Demand>) {
        let mut rotation: Option<Rotation> = None;
        let mut failures = 0;
        let mut demand: Option<Demand> = None;
        let mut prefer_token = false;
        loop {
            let now = self.clock.now();
            let is_good = |rotation: &Rotation| rotation.freshness(now) != Freshness::Expired;
            let by_token = prefer_token || !rotation.as_ref().is_some_and(is_good);
            let outcome = self.issue(by_token, now).await;
            prefer_token = !by_token && outcome.as_ref().is_err_and(Error::is_final);
            let now = self.clock.now();
            match &outcome {
                Ok(certificate) => {
                    failures = 0;
                    rotation = Some(Rotation::new(now, certificate.not_after(), fastrand::f64()));
                    self.status.asked(None, false);
                    self.status.certificate(certificate.not_after(), false);
                }
                Err(error) => {
                    failures += 1;
                    if let Some(rotation) = &mut rotation {
                        rotation.failed(now, fastrand::f64());
                    }
                    tracing::warn!(%error, failures, "no new certificate");
                    self.status.asked(Some(error.to_string()), error.is_final());
                }
            }
            if let Some(demand) = demand.take() {
                // Whoever asked may be gone.
                let _ = demand.send(outcome.map(|it| serial_of(&it)).map_err(|error| error.to_string()));
            }
            demand = match self.wait(rotation.as_ref(), failures, &mut demanded).await {
                Due::Demanded(demand) => Some(demand),
                Due::Estranged => {
                    prefer_token = true;
                    None
                }
                Due::InTime => None,
            };
        }
    }

    /// Waits until it is time to ask again, or somebody demands it.
    async fn wait(
        &self,
        rotation: Option<&Rotation>,
        failures: u32,
        demanded: &mut mpsc::Receiver<Demand>,
    ) -> Due {
        let first = self.clock.now() + retry_after(failures, fastrand::f64());
        loop {
            let now = self.clock.now();
            let next = rotation.map_or(first, Rotation::next_attempt);
            if now >= next {
                return Due::InTime;
            }
            if let (Some(rotation), Some(tls)) = (rotation, self.credentials.tls()) {
                let expired = rotation.freshness(now) == Freshness::Expired;
                self.status.certificate(tls.not_after(), expired);
            }
            tokio::select! {
                () = self.clock.sleep(next) => {}
                () = self.transport.estranged() => return Due::Estranged,
                Some(demand) = demanded.recv() => return Due::Demanded(demand),
            }
        }
    }

    async fn issue(&self, by_token: bool, now: SystemTime) -> Result<WorkloadCertificate, Error> {
        let key = KeyAndCsr::generate()?;
        let mut request = Request::new(v1::IssueRequest {
            csr: key.csr_der().to_vec().into(),
            ..v1::IssueRequest::default()
        });
        request.set_timeout(ISSUE_TIMEOUT);
        let shows_token = by_token || self.proof.lasts();
        if shows_token {
            request.metadata_mut().insert("authorization", self.bearer(now)?);
        }
        let Joined { channel, by_proof } = if by_token {
            self.transport.join(&self.proof).await?
        } else {
            Joined { channel: self.transport.connect().await?, by_proof: false }
        };
        let answered = tokio::time::timeout(ISSUE_TIMEOUT, IdentityClient::new(channel).issue(request)).await;
        let address = self.transport.address();
        let what = if shows_token { self.proof.what() } else { "to renew the certificate" };
        let response = answered
            .map_err(|_| Error::Silent { address: address.to_owned(), after: ISSUE_TIMEOUT })?
            .map_err(|status| Error::of_call(address, what, &status))?
            .into_inner();
        self.accept(key, response, by_proof, now)
    }

    fn accept(
        &self,
        key: KeyAndCsr,
        response: v1::IssueResponse,
        by_proof: bool,
        now: SystemTime,
    ) -> Result<WorkloadCertificate, Error> {
        let unusable = |problem: String| Error::Answer {
            address: self.transport.address().to_owned(),
            problem: format!("with a certificate that can't be used: {problem}"),
        };
        let chain = response.chain.into_iter().map(|der| CertificateDer::from(der.to_vec())).collect();
        let certificate = key.into_certificate(chain).map_err(|error| unusable(error.to_string()))?;
        if certificate.is_expired(now) {
            return Err(unusable(format!(
                "it ended at {}",
                crate::runtime::wall_clock::text(certificate.not_after())
            )));
        }
        if *certificate.identity() != *self.proof.identity() {
            return Err(unusable(format!("it is for {}", certificate.identity())));
        }
        let mut bundle = TrustBundle::new();
        let trust_domain = certificate.identity().trust_domain();
        for root in response.roots {
            bundle.add(&trust_domain, &root.to_vec().into()).map_err(|error| unusable(error.to_string()))?;
        }
        let bundle = bundle.with_revoked(revoked(&response.revoked).map_err(unusable)?);
        if by_proof {
            self.credentials.joined(certificate.clone(), bundle);
        } else {
            self.credentials.issued(certificate.clone(), bundle);
        }
        tracing::info!(
            identity = %certificate.identity(),
            serial = serial_of(&certificate),
            not_after = crate::runtime::wall_clock::text(certificate.not_after()),
            "certificate issued"
        );
        Ok(certificate)
    }

    fn bearer(&self, now: SystemTime) -> Result<MetadataValue<Ascii>, Error> {
        let bearer = format!("Bearer {}", self.proof.token(now)?);
        let mut value: MetadataValue<Ascii> = bearer.parse().map_err(|_| Error::NoCertificate)?;
        value.set_sensitive(true);
        Ok(value)
    }
}

fn serial_of(certificate: &WorkloadCertificate) -> String {
    certificate.chain().first().and_then(|leaf| serial::of(leaf)).unwrap_or_default()
}
