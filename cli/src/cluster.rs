//! A Kubernetes cluster as the commands ask it: objects as JSON, with errors that say what to do.

#[cfg(test)]
pub(crate) mod fake;
pub(crate) mod kinds;
mod kubeconfig;
pub(crate) mod pod;
mod target;
mod trouble;

use std::time::Duration;

use http::header::CONTENT_TYPE;
use http::{Method, Request};
use http_body_util::BodyExt as _;
use kube::Client;
use kube::client::Body;
use serde_json::Value;
use tokio::time::timeout;

pub(crate) use self::kubeconfig::Kubeconfig;
pub(crate) use self::target::{Target, check};
pub(crate) use self::trouble::{Trouble, is_forbidden, is_missing};

/// Time for an answer of the API server; webhooks that it asks have up to 10 s of it by default.
const PATIENCE: Duration = Duration::from_secs(15);
/// Objects that are listed at once: a large cluster is read in parts, so that no answer is larger than some MiB.
const PAGE: usize = 500;
/// More than the API server says of a failure.
const STATUS_MAX: usize = 1 << 20;
/// Who writes, for the API server: the name that `kubectl apply --server-side` goes by, which applies what is printed.
const FIELD_MANAGER: &str = "kubectl";

/// A cluster.
#[derive(Clone)]
pub(crate) struct Cluster {
    client: Client,
    /// Where its API server is, for people.
    server: String,
}

/// What a change is only tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Try {
    /// As if nothing of that name were there.
    Create,
    /// As `kubectl apply --server-side --force-conflicts` would do it.
    Apply,
}

impl Cluster {
    /// The cluster of a client.
    pub(crate) fn new(client: Client, server: String) -> Self {
        Self { client, server }
    }

    /// Where its API server is.
    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// The client, for what has to be streamed.
    pub(crate) fn client(&self) -> Client {
        self.client.clone()
    }

    /// The namespace of the kubeconfig's context.
    pub(crate) fn default_namespace(&self) -> &str {
        self.client.default_namespace()
    }

    /// An object, or whatever else is at a path.
    pub(crate) async fn get(&self, path: &str) -> Result<Value, Trouble> {
        self.ask(Method::GET, path, None, "").await
    }

    /// An object; none if there is none.
    pub(crate) async fn find(&self, path: &str) -> Result<Option<Value>, Trouble> {
        match self.get(path).await {
            Err(trouble) if is_missing(&trouble) => Ok(None),
            found => found.map(Some),
        }
    }

    /// All objects of a list, which may be narrowed by a label selector.
    pub(crate) async fn list(&self, path: &str, selector: &str) -> Result<Vec<Value>, Trouble> {
        let (mut items, mut more) = (Vec::new(), String::new());
        loop {
            let query = format!(
                "{path}?limit={PAGE}&labelSelector={}&continue={}",
                percent_encoded(selector),
                percent_encoded(&more)
            );
            let mut page = self.get(&query).await?;
            if let Some(Value::Array(found)) = page.get_mut("items").map(Value::take) {
                items.extend(found);
            }
            match page["metadata"]["continue"].as_str() {
                Some(next) if !next.is_empty() => next.clone_into(&mut more),
                _ => return Ok(items),
            }
        }
    }

    /// Creates an object that the API server answers and does not keep, such as a review.
    pub(crate) async fn review(&self, path: &str, review: &Value) -> Result<Value, Trouble> {
        self.ask(Method::POST, path, Some(review), "application/json").await
    }

    /// What would become of a document, without any change: webhooks and admission have their say.
    pub(crate) async fn dry_run(&self, document: &Value, how: Try) -> Result<Value, Trouble> {
        let path = kinds::path(document).map_err(Trouble::Unknown)?;
        match how {
            Try::Create => {
                let (list, _) = path.rsplit_once('/').unwrap_or_default();
                self.ask(Method::POST, &format!("{list}?dryRun=All"), Some(document), "application/json")
                    .await
            }
            Try::Apply => {
                let path = format!("{path}?dryRun=All&force=true&fieldManager={FIELD_MANAGER}");
                self.ask(Method::PATCH, &path, Some(document), "application/apply-patch+yaml").await
            }
        }
    }

    /// Adds what a document says to the object of its name, or makes that; other fields stay as they are.
    pub(crate) async fn put(&self, list: &str, name: &str, document: &Value) -> Result<(), Trouble> {
        let path = format!("{list}/{name}?fieldManager={FIELD_MANAGER}");
        let patched = self.ask(Method::PATCH, &path, Some(document), "application/merge-patch+json").await;
        match patched {
            Err(trouble) if is_missing(&trouble) => {
                let path = format!("{list}?fieldManager={FIELD_MANAGER}");
                self.ask(Method::POST, &path, Some(document), "application/json").await.map(drop)
            }
            patched => patched.map(drop),
        }
    }

    async fn ask(
        &self,
        method: Method,
        path: &str,
        body: Option<&Value>,
        content_type: &str,
    ) -> Result<Value, Trouble> {
        let what = path.split('?').next().unwrap_or(path).to_owned();
        let body = body.map(Value::to_string).unwrap_or_default().into_bytes();
        let mut request = Request::builder().method(method).uri(path);
        if !content_type.is_empty() {
            request = request.header(CONTENT_TYPE, content_type);
        }
        let request = request.body(body).map_err(|error| Trouble::Unknown(format!("{what}: {error}")))?;
        match timeout(PATIENCE, self.client.request(request)).await {
            Ok(answer) => answer.map_err(|error| Trouble::of(&self.server, &what, error)),
            Err(_) => Err(self.silent(&what)),
        }
    }

    /// What comes from a path, as it comes.
    pub(crate) async fn stream(&self, path: &str) -> Result<Body, Trouble> {
        let answer = self.send(path).await?;
        let (head, body) = answer.into_parts();
        if head.status.is_success() {
            return Ok(body);
        }
        let body = http_body_util::Limited::new(body, STATUS_MAX).collect().await;
        let bytes = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        let mut status: kube::core::Status = serde_json::from_slice(&bytes).unwrap_or_default();
        status.code = head.status.as_u16();
        Err(Trouble::of(
            &self.server,
            path.split('?').next().unwrap_or(path),
            kube::Error::Api(status.boxed()),
        ))
    }

    /// The clock of the API server, to a second, by the `Date` of an answer (RFC 9110 section 6.6.1).
    pub(crate) async fn time(&self) -> Result<Option<jiff::Timestamp>, Trouble> {
        let answer = self.send("/version").await?;
        let date = answer.headers().get(http::header::DATE).and_then(|date| date.to_str().ok());
        Ok(date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok()).map(|date| date.timestamp()))
    }
}

impl Cluster {
    async fn send(&self, path: &str) -> Result<http::Response<Body>, Trouble> {
        let what = path.split('?').next().unwrap_or(path);
        let request = Request::get(path).body(Body::empty());
        let request = request.map_err(|error| Trouble::Unknown(format!("{what}: {error}")))?;
        match timeout(PATIENCE, self.client.send(request)).await {
            Ok(answer) => answer.map_err(|error| Trouble::of(&self.server, what, error)),
            Err(_) => Err(self.silent(what)),
        }
    }

    fn silent(&self, what: &str) -> Trouble {
        Trouble::Silent { server: self.server.clone(), what: what.to_owned(), seconds: PATIENCE.as_secs() }
    }
}

/// Percent-encoded (RFC 3986 section 2.1): all but what never means anything.
pub(crate) fn percent_encoded(text: &str) -> String {
    use std::fmt::Write as _;
    let mut encoded = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

#[cfg(test)]
mod tests;
