//! web -> reviews -> ratings.

use std::convert::Infallible;

use http_body_util::Empty;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use serde_json::json;
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::support::{get, nowhere, send, stand_in_for_reviews, start_ratings, start_reviews, start_web};

async fn chain(version: &str) -> crate::support::Running {
    let ratings = start_ratings(&[]).await;
    let reviews = start_reviews(&["--version", version, "--ratings", &ratings.url()]).await;
    start_web(&["--reviews", &reviews.url()]).await
}

#[tokio::test]
async fn each_version_of_reviews_shows_its_stars() {
    for (version, colour) in [("v1", None), ("v2", Some("black")), ("v3", Some("red"))] {
        let web = chain(version).await;
        let answer = get(web.address, "/product/2").await;
        assert_eq!((answer.status, answer.header("x-version")), (200, Some(version)), "{}", answer.body);
        assert_eq!(answer.header("content-type"), Some("application/json"));
        let mut expected = json!({
            "product": { "id": 2, "title": "The Time Machine", "author": "H. G. Wells" },
            "reviews": { "product": 2, "version": version, "reviews": [
                { "reviewer": "Ada", "text": "Kept me up until two in the morning." },
                { "reviewer": "Grace", "text": "Fine, but the ending came too early." },
            ] },
        });
        if let Some(colour) = colour {
            let reviews = &mut expected["reviews"]["reviews"];
            reviews[0]["rating"] = json!({ "stars": 4, "colour": colour });
            reviews[1]["rating"] = json!({ "stars": 3, "colour": colour });
        }
        assert_eq!(answer.json(), expected);
    }
}

#[tokio::test]
async fn the_page_for_people_is_html() {
    let answer = get(chain("v3").await.address, "/").await;
    assert_eq!((answer.status, answer.header("x-version")), (200, Some("v3")));
    assert!(answer.header("content-type").unwrap().starts_with("text/html"));
    assert!(answer.body.contains("Frankenstein") && answer.body.contains("class=\"red\""));
}

#[tokio::test]
async fn version_1_does_without_ratings() {
    let reviews = start_reviews(&["--version=v1", "--ratings", &nowhere().url]).await;
    assert_eq!(get(reviews.address, "/reviews/1").await.status, 200);
}

#[tokio::test]
async fn what_is_not_there_is_said() {
    let web = chain("v1").await;
    let missing = get(web.address, "/product/9").await;
    assert_eq!(
        (missing.status, missing.json()["error"].as_str()),
        (404, Some("there is no product 9; try 1, 2, 3"))
    );
    assert_eq!(get(web.address, "/elsewhere").await.status, 404);
    let posted = send(web.address, "POST / HTTP/1.1", "content-length: 0\r\n").await;
    assert_eq!((posted.status, posted.header("allow")), (405, Some("GET, HEAD")));
}

#[tokio::test]
async fn a_service_that_is_gone_is_named_all_the_way_up() {
    let nowhere = nowhere();
    let gone = &nowhere.url;
    let web = start_web(&["--reviews", gone]).await;
    let answer = get(web.address, "/product/1").await;
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains(gone) && answer.body.contains("refused"), "{}", answer.body);

    let reviews = start_reviews(&["--version=v2", "--ratings", gone]).await;
    let web = start_web(&["--reviews", &reviews.url()]).await;
    let answer = get(web.address, "/product/1").await;
    assert_eq!((answer.status, answer.header("x-version")), (503, Some("v2")));
    assert!(answer.body.contains(gone.trim_start_matches("http://")), "{}", answer.body);
}

#[tokio::test]
async fn a_service_that_takes_too_long_is_a_gateway_timeout() {
    let ratings = start_ratings(&["--latency=1h"]).await;
    let reviews = start_reviews(&["--version=v2", "--ratings", &ratings.url(), "--timeout=30ms"]).await;
    assert_eq!(get(reviews.address, "/reviews/1").await.status, 504);

    let stuck = stand_in_for_reviews().await;
    let web = start_web(&["--reviews", &format!("http://{}", stuck.address), "--timeout=30ms"]).await;
    let answer = get(web.address, "/product/1").await;
    assert_eq!(answer.status, 504);
    assert!(answer.body.contains("timeout"), "{}", answer.body);
}

#[tokio::test]
async fn failing_on_purpose_spares_the_probe() {
    let reviews = start_reviews(&["--fail-share=1"]).await;
    assert_eq!(get(reviews.address, "/reviews/1").await.status, 503);
    assert_eq!(get(reviews.address, "/healthz").await.status, 200);
}

#[tokio::test]
async fn requests_through_a_proxy_carry_the_whole_url_and_the_trace() {
    let mut proxy = stand_in_for_reviews().await;
    let through = format!("http://{}", proxy.address);
    let web = start_web(&["--reviews=http://reviews:9080", "--proxy", &through]).await;
    let asking = tokio::spawn(async move {
        send(web.address, "GET /product/1 HTTP/1.1", "traceparent: 00-1-2-01\r\nx-user: ada\r\ncookie: a\r\n")
            .await
    });
    let (head, release) = proxy.requests.recv().await.unwrap();
    release.send(()).unwrap();
    assert!(head.starts_with("GET http://reviews:9080/reviews/1 HTTP/1.1\r\n"), "{head}");
    for line in ["host: reviews:9080\r\n", "traceparent: 00-1-2-01\r\n", "x-user: ada\r\n"] {
        assert!(head.contains(line), "{head}");
    }
    assert!(!head.contains("cookie"), "{head}");
    let answer = asking.await.unwrap();
    assert_eq!((answer.status, answer.header("x-version")), (200, Some("v9")));
}

#[tokio::test]
async fn ratings_are_called_by_their_authority_with_the_trace_and_a_deadline() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let sidecar = format!("http://{}", listener.local_addr().unwrap());
    let (arrived, mut requests) = mpsc::unbounded_channel();
    tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let refuse = service_fn(move |request: http::Request<hyper::body::Incoming>| {
            arrived.send(request.into_parts().0).unwrap();
            let answer = http::Response::builder()
                .header("content-type", "application/grpc")
                .header("grpc-status", "12")
                .header("grpc-message", "no route");
            async move { Ok::<_, Infallible>(answer.body(Empty::<bytes::Bytes>::new()).unwrap()) }
        });
        let server = hyper::server::conn::http2::Builder::new(TokioExecutor::new());
        server.serve_connection(TokioIo::new(stream), refuse).await
    });

    let reviews = ["--version=v2", "--ratings", &sidecar, "--ratings-authority=ratings:9090"];
    let reviews = start_reviews(&reviews).await;
    let answer = send(reviews.address, "GET /reviews/1 HTTP/1.1", "x-b3-traceid: abc\r\n").await;
    assert_eq!(answer.status, 502);
    assert!(answer.body.contains("ratings:9090") && answer.body.contains("no route"), "{}", answer.body);
    let request = requests.recv().await.unwrap();
    assert_eq!(request.uri, "http://ratings:9090/ratings.v1.Ratings/GetRatings");
    assert_eq!(request.headers["x-b3-traceid"], "abc");
    assert!(request.headers.contains_key("grpc-timeout"));
}
