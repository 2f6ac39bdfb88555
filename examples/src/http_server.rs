//! The HTTP/1.1 side of a service.

use std::convert::Infallible;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use serde::Serialize;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::behaviour::Behaviour;
use crate::serving::DRAIN;

/// Also the time a kept connection may idle. Longer than the 60 s for which proxies usually keep one, so that it is the
/// proxy that closes it and no request meets a closing connection.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);

/// Long enough for descriptors to be freed when accepting fails for want of them, short enough not to be noticed.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

pub(crate) type Answer = Response<Full<Bytes>>;

/// What a service does with a GET.
pub(crate) trait Service: Send + Sync + 'static {
    fn answer(&self, request: Request<Incoming>) -> impl Future<Output = Answer> + Send;
}

/// Answers what arrives until `stop`, then ends gracefully. `/healthz` is answered here.
pub(crate) async fn serve(
    listener: TcpListener,
    service: impl Service,
    behaviour: Behaviour,
    stop: CancellationToken,
) {
    let service = Arc::new(service);
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            biased;
            () = stop.cancelled() => break,
            accepted = listener.accept() => accepted,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(ACCEPT_PAUSE).await;
            continue;
        };
        // Answers are small and complete; waiting to fill a segment would only delay them.
        let _ = stream.set_nodelay(true);
        let service = Arc::clone(&service);
        let each = service_fn(move |request| {
            let service = Arc::clone(&service);
            async move { Ok::<_, Infallible>(respond(&*service, behaviour, request).await) }
        });
        let connection = graceful.watch(server.serve_connection(TokioIo::new(stream), each));
        // How a connection ends is the caller's business: it sees the same end.
        tokio::spawn(async move { drop(connection.await) });
    }
    drop(listener);
    if tokio::time::timeout(DRAIN, graceful.shutdown()).await.is_err() {
        eprintln!("requests still in flight after {} s are cut off", DRAIN.as_secs());
    }
}

async fn respond(service: &impl Service, behaviour: Behaviour, request: Request<Incoming>) -> Answer {
    if request.uri().path() == "/healthz" {
        return text(StatusCode::OK, "ok\n");
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        let mut answer = problem(StatusCode::METHOD_NOT_ALLOWED, "only GET is answered here");
        answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return answer;
    }
    if behaviour.misbehave().await {
        return problem(StatusCode::SERVICE_UNAVAILABLE, "fails on purpose (--fail-share)");
    }
    service.answer(request).await
}

/// An answer of plain text.
pub(crate) fn text(status: StatusCode, body: &'static str) -> Answer {
    typed(status, "text/plain; charset=utf-8", Bytes::from_static(body.as_bytes()))
}

/// An answer of HTML.
pub(crate) fn html(status: StatusCode, body: String) -> Answer {
    typed(status, "text/html; charset=utf-8", body.into())
}

/// An answer of JSON.
pub(crate) fn json(status: StatusCode, value: &impl Serialize) -> Answer {
    let body = serde_json::to_vec(value).expect("answers have text keys and finite numbers only");
    typed(status, "application/json", body.into())
}

/// An answer that says what went wrong.
pub(crate) fn problem(status: StatusCode, what: &str) -> Answer {
    json(status, &serde_json::json!({ "error": what }))
}

fn typed(status: StatusCode, kind: &'static str, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

/// The decimal number that follows `prefix` and ends the path, if it is one.
pub(crate) fn number_after(path: &str, prefix: &str) -> Option<u32> {
    let digits = path.strip_prefix(prefix)?;
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::number_after;

    #[test]
    fn only_a_whole_number_is_an_id() {
        assert_eq!(number_after("/product/7", "/product/"), Some(7));
        for wrong in ["/product/", "/product/+7", "/product/7/", "/product/99999999999", "/7", "/product/a"] {
            assert_eq!(number_after(wrong, "/product/"), None, "{wrong}");
        }
    }
}
