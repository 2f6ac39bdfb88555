//! Filters of rules and of backends, and shares that are invalid.

use super::*;

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
        violations(2);
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
        violations(2);
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
            let copies = summed(&shadow, |key| key.mirrored).requests();
            assert_eq!(copies, summed(&mesh.worker, |key| key.mirrored).requests());
            assert_eq!((mesh.totals().requests(), totals(&shadow).requests()), (REQUESTS.into(), 0));
            let copies = u32::try_from(copies).unwrap();
            assert!(copies.abs_diff(expected) < 30 && (expected > 0 || copies == 0), "{copies}");
        })
        .await;
    }
}
