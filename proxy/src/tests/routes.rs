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
fn witness(host: u8) {
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

#[tokio::test(start_paused = true)]
async fn redirects_have_their_status_and_the_port_that_goes_with_the_scheme() {
    for (redirect, status, expected) in [
        (v1::Redirect::default(), 302, "http://reviews:9080/a/b?q=1"),
        (
            v1::Redirect { status: 301, scheme: "https".into(), ..v1::Redirect::default() },
            301,
            "https://reviews/a/b?q=1",
        ),
        (
            v1::Redirect { status: 303, hostname: "b.example".into(), ..v1::Redirect::default() },
            303,
            "http://b.example:9080/a/b?q=1",
        ),
        (v1::Redirect { status: 307, port: 80, ..v1::Redirect::default() }, 307, "http://reviews/a/b?q=1"),
        (
            v1::Redirect {
                status: 308,
                path: Some(v1::PathModifier { path: Some(path_modifier::Path::Prefix("/x".into())) }),
                ..v1::Redirect::default()
            },
            308,
            "http://reviews:9080/x/b?q=1",
        ),
    ] {
        local(async {
            let rule = with_filter(at_path(Path::PathPrefix("/a".into())), Filter::Redirect(redirect));
            let _mesh = Mesh::new(&rules(vec![rule]), &[]);
            let answer = asked("/a/b?q=1", &[]).await;
            assert_eq!((answer.status().as_u16(), location(&answer)), (status, expected));
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_redirect_keeps_an_address_of_ipv6_whole() {
    local(async {
        let rule = with_filter(v1::HttpRule::default(), Filter::Redirect(v1::Redirect::default()));
        let mesh = Mesh::new(&rules(vec![rule]), &[]);
        let mut known = None;
        mesh.change(|snapshot| known = snapshot.destinations.get("reviews:9080").cloned());
        mesh.change(|snapshot| {
            _ = snapshot.destinations.insert("[fd00::1]:9080".into(), known.clone().unwrap());
        });
        let request = Request::get("/").header("host", "[fd00::1]:9080").body(Body::Empty).unwrap();
        let answer = whole(Caller::new().send(request).await.unwrap()).await;
        assert_eq!(location(&answer), "http://[fd00::1]:9080/");
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn host_and_path_are_rewritten_in_every_version_of_http_and_on_every_hop() {
    let prefix = v1::PathModifier { path: Some(path_modifier::Path::Prefix("/".into())) };
    let rewrite = v1::Rewrite { hostname: "inner.example".into(), path: Some(prefix) };
    let rule = with_filter(at_path(Path::PathPrefix("/outer/".into())), Filter::Rewrite(rewrite));
    let destination = routed(rule);
    over_each_hop(destination, async |_mesh| {
        witness(2);
        for (path, expected) in [("/outer/a?q=1", "/a?q=1"), ("/outer", "/"), ("/outer/", "/")] {
            let answer = asked(path, &[]).await;
            assert!(
                text(&answer).starts_with(&format!("GET {expected}\nasked: inner.example\n")),
                "{}",
                text(&answer)
            );
            let answer = asked_by_http2(path).await;
            assert!(
                text(&answer).starts_with(&format!("GET {expected}\nasked: inner.example\n")),
                "{}",
                text(&answer)
            );
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn header_fields_are_changed_by_the_rule_and_then_by_the_backend() {
    let of_rule = |response: bool| {
        let change = modifier(("x-set", "rule"), ("x-old", "2"), "x-gone");
        filter(if response { Filter::ResponseHeaders(change) } else { Filter::RequestHeaders(change) })
    };
    let backend_change = modifier(("x-set", "backend"), ("x-old", "3"), "x-none");
    let of_backend = filter(Filter::RequestHeaders(backend_change));
    let backend = v1::WeightedBackend { filters: vec![of_backend], ..weighted("reviews", 1) };
    let rule = v1::HttpRule {
        filters: vec![of_rule(false), of_rule(true)],
        backends: vec![backend],
        ..v1::HttpRule::default()
    };
    over_each_hop(routed(rule), async |_mesh| {
        witness(2);
        let answer = asked("/", &[("x-old", "1"), ("x-gone", "1"), ("x-set", "client")]).await;
        let lines: Vec<&str> = text(&answer)
            .lines()
            .filter(|line| {
                line.starts_with("x-old") || line.starts_with("x-set") || line.starts_with("x-gone")
            })
            .collect();
        let mut sorted = lines.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, ["x-old: 1", "x-old: 2", "x-old: 3", "x-set: backend"]);
        let old: Vec<_> = answer.headers().get_all("x-old").iter().collect();
        assert_eq!(old, ["1", "2"]);
        assert_eq!(answer.headers()["x-set"], "rule");
        assert!(!answer.headers().contains_key("x-gone"));
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn a_filter_that_is_not_understood_is_never_skipped_on_rules_and_on_backends() {
    let unheard = || vec![filter(Filter::Invalid("there is no filter of this kind".into()))];
    let on_backend = v1::WeightedBackend { filters: unheard(), ..weighted("reviews", 1) };
    for rule in [
        v1::HttpRule { filters: unheard(), ..v1::HttpRule::default() },
        v1::HttpRule { backends: vec![on_backend], ..v1::HttpRule::default() },
    ] {
        over_each_hop(routed(rule), async |_mesh| {
            echo(2);
            let answer = asked("/", &[]).await;
            assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
            assert_eq!(answer.headers()["x-weft-error"], "invalid_filter");
        })
        .await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_backend_may_redirect_its_share_or_allow_other_origins_to_use_it() {
    let redirect =
        filter(Filter::Redirect(v1::Redirect { hostname: "b.example".into(), ..v1::Redirect::default() }));
    let cors = filter(Filter::Cors(v1::Cors {
        allow_origins: vec!["https://shop.example".into()],
        allow_methods: vec!["PUT".into()],
        ..v1::Cors::default()
    }));
    let only = |with: v1::HttpFilter| {
        let backend = v1::WeightedBackend { filters: vec![with], ..weighted("reviews", 1) };
        routed(v1::HttpRule { backends: vec![backend], ..v1::HttpRule::default() })
    };
    over_each_hop(only(redirect), async |_mesh| {
        assert_eq!(location(&asked("/x", &[]).await), "http://b.example:9080/x");
    })
    .await;
    over_each_hop(only(cors), async |_mesh| {
        echo(2);
        allows_the_shop(StatusCode::OK).await;
    })
    .await;
}

/// A preflight and a request of another origin.
async fn allows_the_shop(status: StatusCode) {
    let mut preflight = request("OPTIONS", "/", Body::Empty);
    for (name, value) in [("origin", "https://shop.example"), ("access-control-request-method", "PUT")] {
        preflight.headers_mut().insert(name, value.parse().unwrap());
    }
    let answer = whole(Caller::new().send(preflight).await.unwrap()).await;
    assert_eq!(answer.status(), StatusCode::NO_CONTENT);
    assert_eq!(answer.headers()["access-control-allow-methods"], "PUT");
    assert_eq!(answer.headers()["access-control-max-age"], "5");
    let answer = asked("/", &[("origin", "https://shop.example")]).await;
    assert_eq!(
        (answer.status(), &answer.headers()["access-control-allow-origin"]),
        (status, &"https://shop.example".parse().unwrap())
    );
    let other = asked("/", &[("origin", "https://evil.example")]).await;
    assert!(!other.headers().contains_key("access-control-allow-origin"));
}

#[tokio::test(start_paused = true)]
async fn a_rule_answers_preflights_and_tells_who_may_use_its_answers() {
    let cors = Filter::Cors(v1::Cors {
        allow_origins: vec!["https://shop.example".into()],
        allow_methods: vec!["PUT".into()],
        ..v1::Cors::default()
    });
    over_each_hop(routed(with_filter(v1::HttpRule::default(), cors)), async |_mesh| {
        echo(2);
        allows_the_shop(StatusCode::OK).await;
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn an_invalid_backend_keeps_its_share_of_requests_and_of_calls() {
    const REQUESTS: u32 = 400;
    let target = Some(weighted_backend::Target::Invalid("there is no Service shop/none".into()));
    let invalid = v1::WeightedBackend { weight: 1, target, filters: vec![] };
    let rule = v1::HttpRule { backends: vec![weighted("reviews", 3), invalid], ..v1::HttpRule::default() };
    local(async {
        fastrand::seed(7);
        let mesh = Mesh::new(&routed(rule), &[endpoint(2, v1::Hop::Weft)]);
        mesh.sidecar(2, &v1::Inbound::default());
        echo(2);
        let (caller, mut failed) = (Caller::new(), [0, 0]);
        for _ in 0..REQUESTS {
            let answer = caller.get("/").await;
            failed[0] += u32::from(answer.status() == StatusCode::INTERNAL_SERVER_ERROR);
            let call = Request::post("http://reviews:9080/a.B/C").header("content-type", "application/grpc");
            let answer = caller.send_http2(call.body(Body::Empty).unwrap()).await.unwrap();
            let status = answer.headers().get("grpc-status");
            failed[1] += u32::from(status.is_some_and(|status| status == "14"));
        }
        for failed in failed {
            assert!(failed.abs_diff(REQUESTS / 4) < 30, "{failed}");
        }
    })
    .await;
}

#[tokio::test(start_paused = true)]
async fn copies_are_made_of_the_share_that_the_route_says() {
    const REQUESTS: u32 = 400;
    for (numerator, denominator, expected) in [(0, 0, REQUESTS), (0, 100, 0), (1, 4, REQUESTS / 4)] {
        local(async {
            fastrand::seed(7);
            let mirror = v1::Mirror { backend: Some(backend("shadow")), numerator, denominator };
            let rule = with_filter(v1::HttpRule::default(), Filter::Mirror(mirror));
            let endpoints = [endpoint(2, v1::Hop::Weft), endpoint_of("shadow", 3, v1::Hop::Weft)];
            let mesh = Mesh::new(&routed(rule), &endpoints);
            mesh.sidecar(2, &v1::Inbound::default());
            let shadow = mesh.sidecar(3, &v1::Inbound::default());
            echo(2);
            echo(3);
            let caller = Caller::new();
            for _ in 0..REQUESTS {
                assert_eq!(caller.get("/").await.headers()["x-host"], "2");
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
            let copies = u32::try_from(totals(&shadow).requests()).unwrap();
            assert!(copies.abs_diff(expected) < 30 && (expected > 0 || copies == 0), "{copies}");
        })
        .await;
    }
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
