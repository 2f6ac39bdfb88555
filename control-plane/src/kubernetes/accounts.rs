//! Whom a service account's token belongs to, by the word of the API server (`TokenReview`).

use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use kube::api::{Api, PostParams};
use kube::{Client, Error};
use weft_mesh::name::{Identity, TrustDomain};

use super::REQUEST_TIMEOUT;

/// What a token has to be made for: one for the API server, or for another mesh, is refused.
pub(crate) const AUDIENCE: &str = "weft";
/// How the API server names a service account: this, the namespace, a colon, the name.
const ACCOUNT: &str = "system:serviceaccount:";
/// What it says of the pod that a token is bound to.
const POD: &str = "authentication.kubernetes.io/pod-name";

/// Asks the API server about tokens.
#[derive(Clone)]
pub(crate) struct Accounts {
    reviews: Api<TokenReview>,
    trust_domain: TrustDomain,
}

/// Why it is not known whom a token belongs to.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Problem {
    /// To nobody: asking again does not help.
    Refused(String),
    /// The API server can't say now.
    Unavailable(String),
}

impl Accounts {
    pub(super) fn new(client: Client, trust_domain: TrustDomain) -> Self {
        Self { reviews: Api::all(client), trust_domain }
    }

    /// Whom a token belongs to, and the pod that it is bound to, if any.
    pub(crate) async fn review(&self, token: &str) -> Result<(Identity, String), Problem> {
        let review = TokenReview {
            spec: TokenReviewSpec {
                audiences: Some(vec![AUDIENCE.to_owned()]),
                token: Some(token.to_owned()),
            },
            ..TokenReview::default()
        };
        let params = PostParams::default();
        let asked = tokio::time::timeout(REQUEST_TIMEOUT, self.reviews.create(&params, &review)).await;
        let unavailable = |problem: String| {
            Problem::Unavailable(format!(
                "the API server can't review the service account's token: {problem}"
            ))
        };
        let reviewed = asked
            .map_err(|_| unavailable(format!("no answer in {} s", REQUEST_TIMEOUT.as_secs())))?
            .map_err(|error| match error {
                Error::Api(status) if status.code == 403 => unavailable(format!(
                    "{}; the control plane's ClusterRole lacks `create` of tokenreviews",
                    status.message
                )),
                error => unavailable(error.to_string()),
            })?;
        let status = reviewed.status.unwrap_or_default();
        belongs(&status, &self.trust_domain).map_err(Problem::Refused)
    }
}

fn belongs(status: &TokenReviewStatus, trust_domain: &TrustDomain) -> Result<(Identity, String), String> {
    if status.authenticated != Some(true) {
        let problem = status.error.as_deref().unwrap_or("it is not known there");
        return Err(format!("the API server refused the service account's token: {problem}"));
    }
    // An API server that does not know audiences answers without them.
    if !status.audiences.iter().flatten().any(|audience| audience == AUDIENCE) {
        return Err(format!("the service account's token is not for audience {AUDIENCE:?}"));
    }
    let user = status.user.clone().unwrap_or_default();
    let name = user.username.unwrap_or_default();
    let account = name.strip_prefix(ACCOUNT).and_then(|account| account.split_once(':'));
    let (namespace, account) =
        account.ok_or_else(|| format!("the token is that of {name:?}, no service account"))?;
    let identity = Identity::new(trust_domain, namespace, account).map_err(|error| error.to_string())?;
    let pod = user.extra.unwrap_or_default().remove(POD).and_then(|names| names.into_iter().next());
    Ok((identity, pod.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn judge(status: Value) -> Result<(Identity, String), String> {
        belongs(&serde_json::from_value(status).unwrap(), &"cluster.local".parse().unwrap())
    }

    fn web() -> Value {
        json!({
            "authenticated": true,
            "audiences": ["weft"],
            "user": {
                "username": "system:serviceaccount:shop:web",
                "extra": {"authentication.kubernetes.io/pod-name": ["web-7f-x2"]},
            },
        })
    }

    #[test]
    fn a_token_belongs_to_its_service_account_and_pod() {
        let (identity, pod) = judge(web()).unwrap();
        assert_eq!((identity.as_str(), &*pod), ("spiffe://cluster.local/ns/shop/sa/web", "web-7f-x2"));
    }

    #[test]
    fn other_tokens_are_refused_with_the_reason() {
        let with = |pointer: &str, value: Value| {
            let mut status = web();
            *status.pointer_mut(pointer).unwrap() = value;
            judge(status).unwrap_err()
        };
        assert!(with("/authenticated", json!(false)).contains("it is not known there"));
        assert!(with("/audiences", json!(["https://kubernetes.default.svc"])).contains("\"weft\""));
        assert!(with("/user/username", json!("admin")).contains("that of \"admin\""));
        let mut expired = web();
        expired["authenticated"] = json!(false);
        expired["error"] = json!("token has expired");
        assert!(judge(expired).unwrap_err().contains("token has expired"));
    }
}
