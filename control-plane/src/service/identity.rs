//! Issuing certificates.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tonic::metadata::MetadataMap;
use tonic::{Request, Response, Status};
use weft_identity::{JoinToken, TokenIssuer};
use weft_mesh::name::{Identity, TrustDomain};
use weft_proto::v1::identity_server;
use weft_proto::v1::{IssueRequest, IssueResponse};

use crate::Error;
use crate::authority::Authority;
use crate::caller::{Authenticator, caller};
use crate::kubernetes::{Accounts, Problem};
use crate::metrics::Metrics;

const BEARER: &str = "Bearer ";

/// Signs for whoever proves to be somebody.
pub(crate) struct Issuer {
    pub(crate) authority: Arc<Authority>,
    pub(crate) tokens: TokenIssuer,
    /// Knows service accounts' tokens, in a cluster.
    pub(crate) accounts: Option<Accounts>,
    pub(crate) trust_domain: TrustDomain,
    pub(crate) authenticator: Authenticator,
    pub(crate) metrics: Arc<Metrics>,
}

/// What proved who the caller is, for the log.
enum Proof {
    Token(String),
    Account(String),
    Certificate,
}

// A status is tonic's one way to refuse a call.
#[allow(clippy::result_large_err)]
impl Issuer {
    /// Who calls: a token counts more than a certificate, so that a workload can become somebody else.
    async fn authenticate(
        &self,
        metadata: &MetadataMap,
        extensions: &http::Extensions,
    ) -> Result<(Identity, Proof), Status> {
        let Some(header) = metadata.get("authorization") else {
            return Ok((self.authenticator.identity(extensions)?, Proof::Certificate));
        };
        let refuse = |problem: String| -> Status {
            match caller(extensions) {
                Ok(caller) => self.authenticator.unauthenticated(caller, problem),
                Err(status) => status,
            }
        };
        let token = header
            .to_str()
            .ok()
            .and_then(|header| header.strip_prefix(BEARER))
            .ok_or_else(|| refuse("authorization: write `Bearer` and a token".to_owned()))?;
        // What is no join token never was ours: it is for the API server to judge.
        if let Some(accounts) = self.accounts.as_ref().filter(|_| JoinToken::parse(token).is_err()) {
            return match accounts.review(token).await {
                Ok((identity, pod)) => Ok((identity, Proof::Account(pod))),
                Err(Problem::Refused(problem)) => Err(refuse(problem)),
                Err(Problem::Unavailable(problem)) => Err(Status::unavailable(problem)),
            };
        }
        let claims =
            self.tokens.verify(token, SystemTime::now()).map_err(|error| refuse(error.to_string()))?;
        if claims.trust_domain() != self.trust_domain {
            let problem =
                format!("the join token is for {}, and this is {}", claims.identity, self.trust_domain);
            return Err(refuse(problem));
        }
        Ok((claims.identity, Proof::Token(claims.id)))
    }
}

#[tonic::async_trait]
impl identity_server::Identity for Issuer {
    async fn issue(&self, request: Request<IssueRequest>) -> Result<Response<IssueResponse>, Status> {
        let (identity, proof) = self.authenticate(request.metadata(), request.extensions()).await?;
        let address = caller(request.extensions())?.address;
        let IssueRequest { csr, ttl_seconds } = request.into_inner();
        let issued = self
            .authority
            .sign(&csr, &identity, Duration::from_secs(ttl_seconds))
            .map_err(|error| refusal(&error))?;
        self.metrics.certificates.inc();
        let (by, token) = match &proof {
            Proof::Token(id) => ("join token", id.as_str()),
            Proof::Account(pod) => ("service account", pod.as_str()),
            Proof::Certificate => ("certificate", ""),
        };
        tracing::info!(%identity, serial = issued.serial, by, token, peer = %address, "certificate issued");
        let authority = self.authority.current();
        let roots = authority.bundle().roots(&self.trust_domain).iter();
        Ok(Response::new(IssueResponse {
            chain: issued.chain.iter().map(|certificate| certificate.to_vec().into()).collect(),
            roots: roots.map(|root| root.to_vec().into()).collect(),
            spiffe_id: identity.as_str().to_owned(),
            not_before: Some(issued.not_before.into()),
            not_after: Some(issued.not_after.into()),
        }))
    }
}

fn refusal(error: &Error) -> Status {
    match error {
        Error::Identity(weft_identity::Error::Invalid { .. }) => Status::invalid_argument(error.to_string()),
        _ => Status::unavailable(error.to_string()),
    }
}
