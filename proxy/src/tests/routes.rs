//! What routes say, as requests through two sidecars meet it.

use std::fmt::Write as _;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Request, Response, StatusCode};
use http_body_util::BodyExt;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;
use weft_proto::v1;
use weft_proto::v1::http_filter::Filter;
use weft_proto::v1::http_match::Path;
use weft_proto::v1::{path_modifier, value_match, weighted_backend};

use super::network;
use super::world::*;
use crate::http::body::Body;

mod filters;

fn filter(filter: Filter) -> v1::HttpFilter {
    v1::HttpFilter { filter: Some(filter) }
}

fn modifier(set: (&str, &str), add: (&str, &str), remove: &str) -> v1::HeaderModifier {
    let header = |(name, value): (&str, &str)| v1::Header { name: name.into(), value: value.into() };
    v1::HeaderModifier { set: vec![header(set)], add: vec![header(add)], remove: vec![remove.into()] }
}

/// A rule for these paths.
fn at_path(path: Path) -> v1::HttpRule {
    let matching = v1::HttpMatch { path: Some(path), ..v1::HttpMatch::default() };
    v1::HttpRule { matches: vec![matching], ..v1::HttpRule::default() }
}

fn with_filter(rule: v1::HttpRule, with: Filter) -> v1::HttpRule {
    v1::HttpRule { filters: vec![filter(with)], ..rule }
}

/// A rule that answers with a redirect to its own name, so that it is seen which rule a request met.
fn telling(name: &str, rule: v1::HttpRule) -> v1::HttpRule {
    let redirect = v1::Redirect { hostname: name.into(), port: 80, ..v1::Redirect::default() };
    with_filter(rule, Filter::Redirect(redirect))
}

/// The destination `reviews:9080` with these rules.
fn rules(rules: Vec<v1::HttpRule>) -> v1::Destination {
    let mut destination = routed(v1::HttpRule::default());
    destination.http_routes[0].rules = rules;
    destination
}

/// A mesh with one endpoint, behind each kind of hop in turn.
async fn over_each_hop<F: Future<Output = ()>>(destination: v1::Destination, test: impl Fn(Mesh) -> F) {
    for hop in [v1::Hop::Weft, v1::Hop::Standard, v1::Hop::Plain] {
        local(async {
            let mesh = Mesh::new(&destination, &[endpoint(2, hop)]);
            mesh.sidecar(2, &v1::Inbound::default());
            test(mesh).await;
        })
        .await;
    }
}

/// An application that says what it was asked: the request line and the fields, one a line.
fn violations(host: u8) {
    application(host, |request| async move {
        let mut said = format!("{} {}\n", request.method(), request.uri().path_and_query().unwrap());
        let authority = request.uri().authority().map(ToString::to_string);
        let host = authority.or_else(|| Some(request.headers().get("host")?.to_str().unwrap().to_owned()));
        let _ = writeln!(said, "asked: {}", host.unwrap_or_default());
        for (name, value) in request.headers() {
            let _ = writeln!(said, "{name}: {}", value.to_str().unwrap());
        }
        Response::builder().header("x-old", "1").header("x-gone", "1").body(Body::full(said)).unwrap()
    });
}

async fn asked(path: &str, fields: &[(&str, &str)]) -> Response<Bytes> {
    let mut request = request("GET", path, Body::Empty);
    for (name, value) in fields {
        let name: http::HeaderName = name.parse().unwrap();
        request.headers_mut().append(name, value.parse().unwrap());
    }
    whole(Caller::new().send(request).await.unwrap()).await
}

async fn asked_by_http2(path: &str) -> Response<Bytes> {
    let request = Request::get(format!("http://reviews:9080{path}")).body(Body::Empty).unwrap();
    whole(Caller::new().send_http2(request).await.unwrap()).await
}

fn text(answer: &Response<Bytes>) -> &str {
    std::str::from_utf8(answer.body()).unwrap()
}

fn location(answer: &Response<Bytes>) -> &str {
    answer.headers()["location"].to_str().unwrap()
}

/// The name of the rule, made by [`telling`], that a request met.
fn met(answer: &Response<Bytes>) -> &str {
    match answer.headers().get("location") {
        Some(location) => location.to_str().unwrap().split('/').nth(2).unwrap(),
        None => "none",
    }
}

#[tokio::test(start_paused = true)]
async fn methods_header_fields_and_query_parameters_choose_the_rule() {
    let value =
        |name: &str, value: value_match::Value| v1::ValueMatch { name: name.into(), value: Some(value) };
    let exact = |text: &str| value_match::Value::Exact(text.into());
    let regex = |text: &str| value_match::Value::Regex(text.into());
    let conditions = |headers: Vec<v1::ValueMatch>, query: Vec<v1::ValueMatch>, method: &str| v1::HttpRule {
        matches: vec![v1::HttpMatch { headers, query, method: method.into(), path: None }],
        ..v1::HttpRule::default()
    };
    let destination = rules(vec![
        telling("field", conditions(vec![value("X-Kind", exact("a,b"))], vec![], "")),
        telling("pattern", conditions(vec![value("x-kind", regex("[0-9]+"))], vec![], "")),
        telling("query", conditions(vec![], vec![value("q", exact("1 2"))], "")),
        telling("query-pattern", conditions(vec![], vec![value("q", regex("v[0-9]"))], "")),
        telling("host", conditions(vec![value("Host", exact("other.example"))], vec![], "")),
        telling("method", conditions(vec![], vec![], "DELETE")),
    ]);
    local(async {
        let _mesh = Mesh::new(&destination, &[endpoint(2, v1::Hop::Weft)]);
        for (path, fields, expected) in [
            ("/", &[("x-kind", "a"), ("x-kind", "b")][..], "field"),
            ("/", &[("x-kind", "12")], "pattern"),
            ("/", &[("x-kind", "12x")], "none"),
            ("/?q=1+2&q=3", &[], "query"),
            ("/?q=v7", &[], "query-pattern"),
            ("/?q=v77", &[], "none"),
        ] {
            let answer = asked(path, fields).await;
            assert_eq!(met(&answer), expected, "{path} {fields:?}");
            if expected == "none" {
                assert_eq!(answer.status(), StatusCode::NOT_FOUND);
            }
        }
        let delete = request("DELETE", "/", Body::Empty);
        assert_eq!(met(&whole(Caller::new().send(delete).await.unwrap()).await), "method");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_host_is_a_field_that_can_be_matched_in_every_version_of_http() {
    let header =
        v1::ValueMatch { name: "host".into(), value: Some(value_match::Value::Exact("reviews:9080".into())) };
    let matching = v1::HttpMatch { headers: vec![header], ..v1::HttpMatch::default() };
    let rule = v1::HttpRule { matches: vec![matching], ..v1::HttpRule::default() };
    local(async {
        let _mesh = Mesh::new(&rules(vec![telling("host", rule)]), &[endpoint(2, v1::Hop::Weft)]);
        assert_eq!(met(&asked("/", &[]).await), "host");
        assert_eq!(met(&asked_by_http2("/").await), "host");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_rule_for_a_grpc_method_goes_before_one_for_all_calls() {
    let destination = rules(vec![
        telling("all", at_path(Path::PathAny(true))),
        telling("pattern", at_path(Path::PathRegex("/(?:a[.].*)/(?:[^/]+)".into()))),
        telling("method", at_path(Path::PathGrpcMethod("M".into()))),
        telling("service", at_path(Path::PathPrefix("/a.S".into()))),
        telling("both", at_path(Path::PathExact("/a.S/M".into()))),
    ]);
    local(async {
        let _mesh = Mesh::new(&destination, &[endpoint(2, v1::Hop::Weft)]);
        for (path, expected) in [
            ("/a.S/M", "both"),
            ("/a.S/N", "service"),
            ("/a.T/M", "method"),
            ("/a.T/N", "pattern"),
            ("/b.T/N", "all"),
        ] {
            assert_eq!(met(&asked_by_http2(path).await), expected, "{path}");
        }
    })
    .await;
}

#[allow(clippy::unnecessary_wraps)] // As the contracts have it.
fn seconds(seconds: i64) -> Option<prost_types::Duration> {
    Some(prost_types::Duration { seconds, nanos: 0 })
}

#[tokio::test(start_paused = true)]
async fn the_time_of_an_attempt_ends_with_its_answer_not_with_the_head_of_that() {
    let rule = v1::HttpRule {
        backend_request_timeout: seconds(1),
        request_timeout: seconds(5),
        ..v1::HttpRule::default()
    };
    over_each_hop(routed(rule), async |_mesh| {
        network::listen(application_at(2), |mut stream| async move {
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf").await;
            std::future::pending::<()>().await;
        });
        let began = Instant::now();
        let answer = Caller::new().send(request("GET", "/", Body::Empty)).await.unwrap();
        assert_eq!(answer.status(), StatusCode::OK);
        assert!(answer.into_body().collect().await.is_err());
        assert_eq!(began.elapsed().as_secs(), 1);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_timeout_of_zero_is_none() {
    let rule = v1::HttpRule {
        request_timeout: seconds(0),
        backend_request_timeout: seconds(0),
        ..v1::HttpRule::default()
    };
    over_each_hop(routed(rule), async |_mesh| {
        application(2, |_| async {
            tokio::time::sleep(Duration::from_mins(4)).await;
            Response::new(Body::Empty)
        });
        assert_eq!(asked("/", &[]).await.status(), StatusCode::OK);
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn the_time_of_a_request_is_over_for_an_upgrade_when_it_is_agreed_to() {
    let rule = v1::HttpRule {
        request_timeout: seconds(1),
        backend_request_timeout: seconds(1),
        ..v1::HttpRule::default()
    };
    over_each_hop(routed(rule), async |_mesh| {
        network::listen(application_at(2), |mut stream| async move {
            let _ = stream.read(&mut [0; 1024]).await;
            let _ = stream
                .write_all(
                    b"HTTP/1.1 101 Switching Protocols\r\nconnection: upgrade\r\nupgrade: echo/1\r\n\r\n",
                )
                .await;
            let (mut read, mut write) = tokio::io::split(stream);
            let _ = tokio::io::copy(&mut read, &mut write).await;
        });
        let mut stream = network::connect(outbound()).unwrap().await.unwrap();
        let head = b"GET / HTTP/1.1\r\nhost: reviews:9080\r\nconnection: upgrade\r\nupgrade: echo/1\r\n\r\n";
        stream.write_all(head).await.unwrap();
        let mut answer = [0; 512];
        let length = stream.read(&mut answer).await.unwrap();
        assert!(answer[..length].starts_with(b"HTTP/1.1 101 "));
        tokio::time::sleep(Duration::from_mins(1)).await;
        stream.write_all(b"still there").await.unwrap();
        let length = stream.read(&mut answer).await.unwrap();
        assert_eq!(&answer[..length], b"still there");
    })
    .await;
}

/// A rule whose clients stay where they are, `scope` telling its sessions from others'.
fn sticky(scope: &str, backends: Vec<v1::WeightedBackend>, rule: v1::HttpRule) -> v1::HttpRule {
    let session = v1::SessionPersistence {
        name: "sid".into(),
        scope: scope.into(),
        ..v1::SessionPersistence::default()
    };
    v1::HttpRule { session_persistence: Some(session), backends, ..rule }
}

fn cookie(headers: &HeaderMap) -> Option<String> {
    Some(headers.get("set-cookie")?.to_str().unwrap().split(';').next().unwrap().to_owned())
}

#[tokio::test(start_paused = true)]
async fn a_session_stays_with_a_backend_that_gets_no_new_ones_and_is_of_its_rule_alone() {
    local(async {
        let both = |reviews: u32, ratings: u32| {
            let backends = vec![weighted("reviews", reviews), weighted("ratings", ratings)];
            let rule = |scope: &str, path: &str| {
                sticky(scope, backends.clone(), at_path(Path::PathPrefix(path.into())))
            };
            rules(vec![rule("r/0", "/a"), rule("r/1", "/b")])
        };
        let endpoints = [endpoint(2, v1::Hop::Weft), endpoint_of("ratings", 3, v1::Hop::Weft)];
        let mesh = Mesh::new(&both(1, 0), &endpoints);
        for host in [2, 3] {
            mesh.sidecar(host, &v1::Inbound::default());
            echo(host);
        }
        let first = asked("/a/x", &[]).await;
        assert_eq!(first.headers()["x-host"], "2");
        assert!(first.headers()["set-cookie"].to_str().unwrap().contains("; Path=/a;"));
        let session = cookie(first.headers()).unwrap();
        mesh.configure(&both(0, 1), &endpoints);
        let kept = asked("/a/y", &[("cookie", &session)]).await;
        assert_eq!((kept.headers()["x-host"].to_str().unwrap(), cookie(kept.headers())), ("2", None));
        let of_another_rule = asked("/b/y", &[("cookie", &session)]).await;
        assert_eq!(of_another_rule.headers()["x-host"], "3");
        assert!(cookie(of_another_rule.headers()).is_some());
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_session_can_be_kept_in_a_header_field_or_in_a_cookie_that_lasts() {
    local(async {
        let rule = |session: v1::SessionPersistence| v1::HttpRule {
            session_persistence: Some(session),
            ..v1::HttpRule::default()
        };
        let in_field = v1::SessionPersistence {
            name: "x-sid".into(),
            kind: v1::SessionKind::Header.into(),
            ..v1::SessionPersistence::default()
        };
        let endpoints = [2, 3, 4].map(|host| endpoint(host, v1::Hop::Weft));
        let mesh = Mesh::new(&routed(rule(in_field)), &endpoints);
        for host in [2, 3, 4] {
            mesh.sidecar(host, &v1::Inbound::default());
            echo(host);
        }
        let first = asked("/", &[]).await;
        let session = first.headers()["x-sid"].to_str().unwrap().to_owned();
        for _ in 0..10 {
            let again = asked("/", &[("x-sid", &session)]).await;
            assert_eq!(again.headers()["x-host"], first.headers()["x-host"]);
            assert!(!again.headers().contains_key("x-sid"));
        }
        let lasting = v1::SessionPersistence {
            name: "sid".into(),
            absolute_timeout: seconds(300),
            permanent: true,
            ..v1::SessionPersistence::default()
        };
        mesh.configure(&routed(rule(lasting)), &endpoints);
        let answer = asked("/", &[]).await;
        assert!(answer.headers()["set-cookie"].to_str().unwrap().contains("; Max-Age=300"));
    })
    .await;
}
