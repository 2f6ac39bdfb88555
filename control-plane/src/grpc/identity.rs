//! Issuing certificates.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use tonic::{Request, Response, Status};
use weft_identity::{Descent, JoinToken, Revoked, TokenIssuer};
use weft_mesh::name::{Identity, TrustDomain};
use weft_proto::v1::identity_server;
use weft_proto::v1::{IssueRequest, IssueResponse};

use crate::Error;
use crate::authority::Authority;
use crate::caller::{Authenticator, Certified, caller};
use crate::compile;
use crate::kubernetes::{Accounts, Problem};
use crate::metrics::Metrics;
use crate::shares::{Share, Shares, source};

const BEARER: &str = "Bearer ";
/// Most reviews by the API server that one source waits for at once: whoever shows a made-up token has it asked.
const REVIEWS: usize = 16;

/// Signs for whoever proves to be somebody.
pub(crate) struct Issuer {
    pub(crate) authority: Arc<Authority>,
    pub(crate) tokens: TokenIssuer,
    /// Knows service accounts' tokens, in a cluster.
    pub(crate) accounts: Option<Accounts>,
    pub(crate) reviews: Arc<Shares<IpAddr>>,
    pub(crate) trust_domain: TrustDomain,
    pub(crate) authenticator: Authenticator,
    pub(crate) metrics: Arc<Metrics>,
}

/// Who the caller is, and what its certificate is to descend from.
struct Proven {
    identity: Identity,
    /// `None`: what it showed does not say, as a certificate of an earlier version.
    descent: Option<Descent>,
    /// By what, for the log.
    by: &'static str,
    /// Of which token, or pod.
    of: String,
}

// A status is tonic's one way to refuse a call.
#[allow(clippy::result_large_err)]
impl Issuer {
    /// How many reviews each source may wait for.
    pub(crate) fn reviews() -> Arc<Shares<IpAddr>> {
        Shares::new(REVIEWS)
    }

    /// Who calls: a token counts more than a certificate, so that a workload can become somebody else.
    async fn authenticate(&self, request: &Request<IssueRequest>) -> Result<Proven, Status> {
        let extensions = request.extensions();
        let refuse = |problem: String| -> Status {
            match caller(extensions) {
                Ok(caller) => self.authenticator.unauthenticated(caller, problem),
                Err(status) => status,
            }
        };
        let Some(header) = request.metadata().get("authorization") else {
            let (certified, _) = self.authenticator.certified(extensions)?;
            let renewed = renewal(certified, self.accounts.is_some());
            return renewed.map_err(refuse);
        };
        let token = header
            .to_str()
            .ok()
            .and_then(|header| header.strip_prefix(BEARER))
            .ok_or_else(|| refuse("authorization: write `Bearer` and a token".to_owned()))?;
        let revoked = self.authenticator.revoked();
        // What is no join token never was ours: it is for the API server to judge.
        if let Some(accounts) = self.accounts.as_ref().filter(|_| JoinToken::parse(token).is_err()) {
            let _one_of_its_own = self.review(extensions)?;
            let (identity, pod) = accounts.review(token).await.map_err(|problem| match problem {
                Problem::Refused(problem) => refuse(problem),
                Problem::Unavailable(problem) => Status::unavailable(problem),
            })?;
            // It was asked for just now, so that only what is revoked altogether is refused.
            let checked = revoked.check(&identity, None, Some(SystemTime::now()));
            checked.map_err(|revoked| refuse(revoked.to_string()))?;
            return Ok(Proven { identity, descent: Some(Descent::Account), by: "service account", of: pod });
        }
        self.join(token, &revoked).map_err(refuse)
    }

    fn join(&self, token: &str, revoked: &Revoked) -> Result<Proven, String> {
        let claims = self.tokens.verify(token, SystemTime::now()).map_err(|error| error.to_string())?;
        if claims.trust_domain() != self.trust_domain {
            return Err(format!(
                "the join token is for {}, and this is {}",
                claims.identity, self.trust_domain
            ));
        }
        revoked
            .check(&claims.identity, Some(&claims.id), Some(claims.issued_at))
            .map_err(|revoked| revoked.to_string())?;
        let descent = Descent::Token { id: claims.id.clone(), grants: claims.grants };
        Ok(Proven { identity: claims.identity, descent: Some(descent), by: "join token", of: claims.id })
    }

    fn review(&self, extensions: &http::Extensions) -> Result<Share<IpAddr>, Status> {
        let share = self.reviews.take(source(caller(extensions)?.address.ip()));
        share.ok_or_else(|| {
            Status::unavailable("too many tokens from this address are being reviewed; try again")
        })
    }
}

/// A certificate renews itself where what it descends from can't be asked again, which is a join token: its expiry ends no
/// workload that runs, its revocation does. Where Kubernetes can be asked, it is, each time.
fn renewal(certified: &Certified, in_cluster: bool) -> Result<Proven, String> {
    let identity = certified.identity.clone();
    let descent = certified.lineage.as_ref().map(|lineage| lineage.descent.clone());
    let of = match &descent {
        Some(Descent::Token { id, .. }) => id.clone(),
        Some(Descent::Account) => {
            return Err(format!("{identity} is a service account: show its token for each new certificate"));
        }
        None if in_cluster => {
            return Err(format!(
                "the certificate of {identity} does not say what it descends from: show the service account's token, or \
                 a join token"
            ));
        }
        None => String::new(),
    };
    Ok(Proven { identity, descent, by: "certificate", of })
}

#[tonic::async_trait]
impl identity_server::Identity for Issuer {
    async fn issue(&self, request: Request<IssueRequest>) -> Result<Response<IssueResponse>, Status> {
        let Proven { identity, descent, by, of } = self.authenticate(&request).await?;
        let address = caller(request.extensions())?.address;
        let IssueRequest { csr, ttl_seconds } = request.into_inner();
        let issued = self
            .authority
            .sign(&csr, &identity, descent.as_ref(), Duration::from_secs(ttl_seconds))
            .map_err(|error| refusal(&error))?;
        self.metrics.certificates.inc();
        tracing::info!(%identity, serial = issued.serial, by, of, peer = %address, "certificate issued");
        let believed = self.authority.believed();
        let roots = believed.roots(&self.trust_domain).iter();
        Ok(Response::new(IssueResponse {
            chain: issued.chain.iter().map(|certificate| certificate.to_vec().into()).collect(),
            roots: roots.map(|root| root.to_vec().into()).collect(),
            spiffe_id: identity.as_str().to_owned(),
            not_before: Some(issued.not_before.into()),
            not_after: Some(issued.not_after.into()),
            revoked: compile::revocations(believed.revoked()),
        }))
    }
}

fn refusal(error: &Error) -> Status {
    match error {
        Error::Identity(weft_identity::Error::Invalid { .. }) => Status::invalid_argument(error.to_string()),
        _ => Status::unavailable(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use weft_identity::{Grants, Lineage};

    use super::*;

    fn certified(descent: Option<Descent>) -> Certified {
        let now = SystemTime::now();
        let lineage = descent.map(|descent| Lineage { issued_at: now, descent });
        Certified {
            identity: "spiffe://cluster.local/ns/shop/sa/web".parse().unwrap(),
            not_after: now,
            lineage,
        }
    }

    #[test]
    fn only_what_descends_from_a_join_token_renews_itself_in_a_cluster() {
        let token = Descent::Token { id: "abc".to_owned(), grants: Grants::default() };
        for in_cluster in [false, true] {
            let renewed =
                renewal(&certified(Some(token.clone())), in_cluster).unwrap_or_else(|it| panic!("{it}"));
            assert_eq!(renewed.descent, Some(token.clone()), "its descent is handed on");
            let refused = renewal(&certified(Some(Descent::Account)), in_cluster).err().unwrap();
            assert!(refused.contains("show its token"), "{refused}");
        }
        assert!(renewal(&certified(None), true).err().unwrap().contains("does not say"));
        assert_eq!(renewal(&certified(None), false).ok().unwrap().descent, None);
    }
}
