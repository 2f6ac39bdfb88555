//! Keeps the beginnings of a watch apart.
//!
//! A watch that ends is begun again at once: that is how it ends every minute. One that the API server, or a proxy before it,
//! ends as soon as it has begun, such as by an error without content, would be begun again as fast as the machine can.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use kube::client::Body;
use parking_lot::Mutex;
use tokio::time::{Instant, sleep_until};
use tower::{Layer, Service};

/// Time from one beginning of a watch to the next.
const APART: Duration = Duration::from_secs(1);

/// When each watch may begin next, by its path.
#[derive(Clone, Debug, Default)]
pub(crate) struct WatchBackoff(Arc<Mutex<HashMap<String, Instant>>>);

impl WatchBackoff {
    /// When a request may be sent.
    fn turn(&self, request: &Request<Body>) -> Instant {
        let now = Instant::now();
        if !request.uri().query().is_some_and(|query| query.split('&').any(|part| part == "watch=true")) {
            return now;
        }
        let mut next = self.0.lock();
        let next = next.entry(request.uri().path().to_owned()).or_insert(now);
        let turn = now.max(*next);
        *next = turn + APART;
        turn
    }
}

impl<S> Layer<S> for WatchBackoff {
    type Service = Paced<S>;

    fn layer(&self, inner: S) -> Paced<S> {
        Paced { inner, backoff: self.clone() }
    }
}

/// A client of the API server that begins watches at a backoff.
#[derive(Debug)]
pub(crate) struct Paced<S> {
    inner: S,
    backoff: WatchBackoff,
}

impl<S, B> Service<Request<Body>> for Paced<S>
where
    S: Service<Request<Body>, Response = Response<B>>,
    S::Future: Send + 'static,
{
    type Response = Response<B>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<B>, S::Error>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let turn = self.backoff.turn(&request);
        let answer = self.inner.call(request);
        Box::pin(async move {
            sleep_until(turn).await;
            answer.await
        })
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::sync::atomic::{AtomicU32, Ordering};

    use futures_util::{StreamExt as _, pin_mut};
    use http::StatusCode;
    use k8s_openapi::api::core::v1::Pod;
    use kube::api::Api;
    use kube::client::ClientBuilder;
    use kube::runtime::watcher::Config;
    use serde_json::json;
    use tokio::time::timeout;

    use super::*;
    use crate::kubernetes::watched;

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_ends_as_soon_as_it_begins_is_not_begun_in_a_loop() {
        for status in [StatusCode::OK, StatusCode::SERVICE_UNAVAILABLE] {
            let begun = Arc::new(AtomicU32::new(0));
            let count = Arc::clone(&begun);
            let service = tower::service_fn(move |request: Request<Body>| {
                let watching = request.uri().query().is_some_and(|query| query.contains("watch=true"));
                count.fetch_add(u32::from(watching), Ordering::Relaxed);
                let list = json!({"apiVersion": "v1", "kind": "PodList", "metadata": {"resourceVersion": "1"}, "items": []});
                let (status, body) =
                    if watching { (status, String::new()) } else { (StatusCode::OK, list.to_string()) };
                let answer = Response::builder().status(status).body(Body::from(body.into_bytes()));
                async move { Ok::<_, Infallible>(answer.unwrap()) }
            });
            let client = ClientBuilder::new(service, "default").with_layer(&WatchBackoff::default()).build();
            let events = watched(Api::<Pod>::all(client), Config::default());
            pin_mut!(events);
            let all = async { while events.next().await.is_some() {} };
            assert!(timeout(Duration::from_mins(1), all).await.is_err());
            let begun = begun.load(Ordering::Relaxed);
            assert!((2..=61).contains(&begun), "{begun} times in a minute, answered with {status}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn watches_of_several_kinds_and_other_requests_do_not_wait_for_each_other() {
        let backoff = WatchBackoff::default();
        let turn = |uri: &str| backoff.turn(&Request::get(uri).body(Body::empty()).unwrap());
        let now = Instant::now();
        assert_eq!(turn("/api/v1/pods?watch=true&resourceVersion=1"), now);
        assert_eq!(turn("/api/v1/services?watch=true"), now);
        assert_eq!(turn("/api/v1/pods?limit=500"), now);
        assert_eq!(turn("/api/v1/pods?watch=true&resourceVersion=2"), now + APART);
        tokio::time::advance(Duration::from_mins(1)).await;
        assert_eq!(turn("/api/v1/pods?watch=true&resourceVersion=3"), now + Duration::from_mins(1));
    }
}
