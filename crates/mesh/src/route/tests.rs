//! Lookup against Gateway API's precedence written down naively.

use http::{HeaderMap, HeaderValue, Method};
use proptest::prelude::*;
use proptest::sample::select;

use super::*;

fn rule(name: &str, matches: Vec<HttpMatch>) -> HttpRule<()> {
    HttpRule { name: Some(name.into()), matches, ..HttpRule::to(Split::single("b", Backend::new(()))) }
}

fn route(name: &str, hostnames: &[&str], rules: Vec<HttpRule<()>>) -> HttpRoute<()> {
    let hostnames = hostnames.iter().map(|host| HostPattern::new(host).unwrap()).collect();
    HttpRoute { id: ResourceRef::new("HTTPRoute", "ns", name), hostnames, rules }
}

fn prefix(path: &str) -> HttpMatch {
    HttpMatch::path(PathMatch::prefix(path).unwrap())
}

fn exact(path: &str) -> HttpMatch {
    HttpMatch::path(PathMatch::exact(path).unwrap())
}

fn find_name(
    table: &RouteTable<()>,
    host: &str,
    method: &Method,
    path: &str,
    headers: &HeaderMap,
) -> Option<String> {
    let request = RequestParts { method, host, path, query: None, headers };
    table.find(&request).and_then(|found| found.rule.name.as_ref().map(ToString::to_string))
}

fn get(table: &RouteTable<()>, host: &str, path: &str) -> Option<String> {
    find_name(table, host, &Method::GET, path, &HeaderMap::new())
}

#[test]
fn exact_beats_the_longest_prefix_beats_a_regular_expression() {
    let regex = HttpMatch::path(PathMatch::regex("/a/.*|/z").unwrap());
    let table = RouteTable::compile([route(
        "r",
        &[],
        vec![
            rule("regex", vec![regex]),
            rule("a", vec![prefix("/a")]),
            rule("ab", vec![prefix("/a/b/")]),
            rule("exact", vec![exact("/a/b")]),
        ],
    )]);
    for (path, expected) in [
        ("/a/b", Some("exact")),
        ("/a/b/", Some("ab")),
        ("/a/b/c", Some("ab")),
        ("/a/bc", Some("a")),
        ("/z", Some("regex")),
        ("/y", None),
    ] {
        assert_eq!(get(&table, "", path).as_deref(), expected, "{path}");
    }
}

#[test]
fn hostnames_go_before_paths_and_the_less_specific_is_asked_when_the_more_specific_has_no_match() {
    let table = RouteTable::compile([
        route("any", &[], vec![rule("any", vec![exact("/x")]), rule("rest", vec![])]),
        route("wild", &["*.example.com"], vec![rule("wild", vec![prefix("/x")])]),
        route("longer", &["*.b.example.com"], vec![rule("longer", vec![prefix("/x")])]),
        route("exact", &["a.b.example.com"], vec![rule("exact", vec![prefix("/x/y")])]),
    ]);
    for (host, path, expected) in [
        ("a.b.example.com:8080", "/x/y", "exact"),
        ("A.B.example.com.", "/x", "longer"),
        ("c.example.com", "/x", "wild"),
        ("example.com", "/x", "any"),
        ("a.b.example.com", "/q", "rest"),
        (".example.com", "/x", "any"),
    ] {
        assert_eq!(get(&table, host, path).as_deref(), Some(expected), "{host}{path}");
    }
}

#[test]
fn method_then_headers_then_order_decide_among_equal_paths() {
    let header = |name: &str| prefix("/").header(name, ValueMatch::exact("1")).unwrap();
    let two = header("a").header("b", ValueMatch::exact("1")).unwrap();
    let table = RouteTable::compile([
        route(
            "old",
            &[],
            vec![rule("one", vec![header("a")]), rule("same", vec![header("a")]), rule("two", vec![two])],
        ),
        route(
            "new",
            &[],
            vec![rule("method", vec![prefix("/").method("PUT").unwrap()]), rule("late", vec![header("b")])],
        ),
    ]);
    let headers = |names: &[&'static str]| -> HeaderMap {
        names.iter().map(|name| ((*name).parse().unwrap(), HeaderValue::from_static("1"))).collect()
    };
    let find = |method: &Method, names: &[&'static str]| find_name(&table, "", method, "/p", &headers(names));
    assert_eq!(find(&Method::PUT, &["a", "b"]).as_deref(), Some("method"));
    assert_eq!(find(&Method::GET, &["a", "b"]).as_deref(), Some("two"));
    assert_eq!(find(&Method::GET, &["a"]).as_deref(), Some("one"));
    assert_eq!(find(&Method::GET, &["b"]).as_deref(), Some("late"));
    assert_eq!(find(&Method::GET, &[]), None);
}

#[test]
fn grpc_rules_follow_their_own_precedence() {
    let grpc = |service: Option<&str>, method: Option<&str>| {
        let exact = |name: Option<_>| name.map(NameMatch::Exact);
        GrpcMatch { service: exact(service), method: exact(method) }.compile().unwrap()
    };
    let table = RouteTable::compile([route(
        "r",
        &[],
        vec![
            rule("all", vec![grpc(None, None)]),
            rule("method", vec![grpc(None, Some("M"))]),
            rule("service", vec![grpc(Some("a.S"), None)]),
            rule("both", vec![grpc(Some("a.S"), Some("M"))]),
        ],
    )]);
    for (path, expected) in [
        ("/a.S/M", "both"),
        ("/a.S/N", "service"),
        ("/a.T/M", "method"),
        ("/a.T/N", "all"),
        ("/a.S2/N", "all"),
    ] {
        assert_eq!(get(&table, "", path).as_deref(), Some(expected), "{path}");
    }
}

#[test]
fn a_lookup_among_ten_thousand_routes_examines_only_what_stands_at_its_path() {
    let routes = (0..10_000).map(|number| {
        let path = format!("/team-{}/service-{number}", number % 100);
        let host = format!("s{}.example.com", number % 1000);
        let hosts: &[&str] = if number % 2 == 0 { &[] } else { &[&host] };
        route(
            &format!("r{number}"),
            hosts,
            vec![rule(&format!("r{number}"), vec![prefix(&path), exact(&format!("{path}/x"))])],
        )
    });
    let table = RouteTable::compile(routes);
    let headers = HeaderMap::new();
    for (host, path, expected) in [
        ("s7.example.com", "/team-42/service-9942/a/b", Some("r9942")),
        ("s1.example.com", "/team-1/service-8001/x", Some("r8001")),
        ("s1.example.com", "/team-1/nothing", None),
    ] {
        let request = RequestParts { method: &Method::GET, host, path, query: None, headers: &headers };
        let mut examined = 0;
        let found = table.find_among(&request, |candidate, request| {
            examined += 1;
            candidate.conditions.rest_matches(request)
        });
        assert_eq!(found.and_then(|found| found.rule.name.clone()).as_deref(), expected);
        assert!(examined <= 1, "{examined} candidates examined for {path}");
    }
}

#[test]
fn a_path_of_many_elements_costs_no_more_than_the_tree_is_deep() {
    let table = RouteTable::compile([route("r", &[], vec![rule("a", vec![prefix("/a")])])]);
    assert_eq!(get(&table, "", &format!("/a{}", "/".repeat(100_000))).as_deref(), Some("a"));
}

#[test]
fn an_explanation_names_what_was_missed() {
    let table = RouteTable::compile([
        route("other", &["b.example"], vec![rule("host", vec![])]),
        route(
            "r",
            &[],
            vec![rule("path", vec![exact("/q")]), rule("method", vec![prefix("/p").method("PUT").unwrap()])],
        ),
        route("s", &[], vec![rule("taken", vec![prefix("/p")]), rule("outranked", vec![])]),
    ]);
    let headers = HeaderMap::new();
    let request =
        RequestParts { method: &Method::GET, host: "a.example", path: "/p", query: None, headers: &headers };
    let explained: Vec<(String, Verdict)> = table
        .explain(&request)
        .into_iter()
        .map(|considered| (considered.rule.name.as_deref().unwrap().to_owned(), considered.verdict))
        .collect();
    let expected = [
        ("path", Verdict::Mismatch(Mismatch::Path)),
        ("method", Verdict::Mismatch(Mismatch::Method)),
        ("taken", Verdict::Taken),
        ("outranked", Verdict::Outranked),
        ("host", Verdict::Hostname),
    ];
    assert_eq!(explained, expected.map(|(name, verdict)| (name.to_owned(), verdict)));
}

const HOSTS: &[&str] = &["a.x.y", "b.x.y", "x.y", "y", "*.x.y", "*.y"];
const PATHS: &[&str] = &["/", "/a", "/a/", "/a/b", "/a/b/c", "/b", "/a/bc", "*"];

fn any_match() -> impl Strategy<Value = HttpMatch> {
    let path = prop_oneof![
        3 => select(&PATHS[..7]).prop_map(|path| PathMatch::prefix(path).unwrap()),
        2 => select(&PATHS[..7]).prop_map(|path| PathMatch::exact(path).unwrap()),
        1 => select(&["/a.*", ".*", "/b"][..]).prop_map(|source| PathMatch::regex(source).unwrap()),
        1 => select(&["b", "c"][..]).prop_map(|method| PathMatch::GrpcMethod(method.into())),
        1 => Just(PathMatch::Any),
    ];
    let names = || prop::collection::vec(select(&["p", "q", "r"][..]), 0..3);
    (path, prop::option::of(select(&["GET", "PUT"][..])), names(), names()).prop_map(
        |(path, method, headers, query)| {
            let mut matching = HttpMatch::path(path);
            if let Some(method) = method {
                matching = matching.method(method).unwrap();
            }
            for name in headers {
                matching = matching.header(name, ValueMatch::exact("1")).unwrap();
            }
            query.iter().fold(matching, |matching, name| matching.query(name, ValueMatch::exact("1")))
        },
    )
}

fn any_routes() -> impl Strategy<Value = Vec<HttpRoute<()>>> {
    let rules = prop::collection::vec(prop::collection::vec(any_match(), 0..3), 1..4);
    let routes = prop::collection::vec((prop::collection::vec(select(HOSTS), 0..3), rules), 1..6);
    routes.prop_map(|routes| {
        let numbered = routes.into_iter().enumerate();
        let build = numbered.map(|(at, (hosts, rules))| {
            let rules = rules
                .into_iter()
                .enumerate()
                .map(|(number, matches)| rule(&format!("{at}/{number}"), matches));
            route(&at.to_string(), &hosts, rules.collect())
        });
        build.collect()
    })
}

/// Every match of every rule with its precedence, sorted and scanned.
fn naive(routes: &[HttpRoute<()>], request: &RequestParts<'_>) -> Option<String> {
    let mut best = None;
    for (route_at, route) in routes.iter().enumerate() {
        let hosts: Vec<_> =
            if route.hostnames.is_empty() { vec![None] } else { route.hostnames.iter().map(Some).collect() };
        for host in hosts {
            let host_chars = match host {
                None => (0, 0),
                Some(pattern) if !host_matches(&pattern.to_string(), request.host) => continue,
                Some(pattern) if pattern.wildcard => (0, pattern.to_string().len()),
                Some(pattern) => (pattern.to_string().len(), pattern.to_string().len()),
            };
            for (rule_at, rule) in route.rules.iter().enumerate() {
                let matches = if rule.matches.is_empty() { vec![prefix("/")] } else { rule.matches.clone() };
                for matching in matches.iter().filter(|matching| matching.check(request).is_ok()) {
                    let (_, no_method, headers, query) = matching.rank();
                    let path = match &matching.path {
                        PathMatch::Exact(_) => (4, 0),
                        PathMatch::Prefix(prefix) => (3, prefix.len()),
                        PathMatch::GrpcMethod(method) => (2, method.len()),
                        PathMatch::Regex(_) => (1, 0),
                        PathMatch::Any => (0, 0),
                    };
                    let order = std::cmp::Reverse((route_at, rule_at));
                    let rank = (host_chars, path, !no_method, headers.0, query.0, order);
                    if best.as_ref().is_none_or(|(other, _)| rank > *other) {
                        best = Some((rank, rule.name.as_ref().unwrap().to_string()));
                    }
                }
            }
        }
    }
    best.map(|(_, name)| name)
}

fn host_matches(pattern: &str, host: &str) -> bool {
    let Some(suffix) = pattern.strip_prefix('*') else { return pattern == host };
    host.len() > suffix.len() && host.ends_with(suffix)
}

proptest! {
    #[test]
    fn lookup_and_explanation_agree_with_the_naive_order(
        routes in any_routes(),
        host in select(&["a.x.y", "b.x.y", "c.x.y", "x.y", "y", "z", ""][..]),
        method in select(&[Method::GET, Method::PUT, Method::POST][..]),
        path in select(PATHS),
        names in prop::collection::vec(select(&["p", "q", "r"][..]), 0..4),
        query in select(&[None, Some("p=1"), Some("q=1&r=1"), Some("p=1&q=1&r=2")][..]),
    ) {
        let headers: HeaderMap = names.iter().map(|name| (name.parse().unwrap(), HeaderValue::from_static("1"))).collect();
        // The same field twice would count as "1,1".
        let request = RequestParts { method: &method, host, path, query, headers: &headers };
        let expected = naive(&routes, &request);
        let table = RouteTable::compile(routes);
        let found = table.find(&request).and_then(|found| found.rule.name.as_ref().map(ToString::to_string));
        prop_assert_eq!(&found, &expected);
        let taken = table.explain(&request).into_iter().find(|considered| considered.verdict == Verdict::Taken);
        prop_assert_eq!(taken.and_then(|taken| taken.rule.name.as_ref().map(ToString::to_string)), expected);
    }

    #[test]
    fn any_request_is_looked_up_without_a_panic(routes in any_routes(), host in ".{0,20}", path in ".{0,20}") {
        let headers = HeaderMap::new();
        let request = RequestParts { method: &Method::GET, host: &host, path: &path, query: Some(&path), headers: &headers };
        let _ = RouteTable::compile(routes).find(&request);
    }
}
