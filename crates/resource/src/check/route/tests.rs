//! What routes may say: the conditions that Gateway API's own schemas set, so that a file and a cluster refuse the same.

use serde_json::{Value, json};

use crate::{Age, Severity, decode};

const CART: &str = "{group: '', kind: Service, name: cart}";

/// What is said of a route with this `spec`, as `severity place: reason`.
fn said(kind: &str, spec: &str) -> Vec<String> {
    let spec: Value = serde_saphyr::from_str(spec).unwrap();
    let document = json!({
        "apiVersion": "gateway.networking.k8s.io/v1",
        "kind": kind,
        "metadata": {"name": "r", "namespace": "shop"},
        "spec": spec,
    });
    let problems = decode(&document, Age::Written("route.yaml".into(), 0)).problems;
    let severity = |severity| if severity == Severity::Error { "error" } else { "warning" };
    let line = |problem: &crate::Problem| {
        format!("{} {}: {}", severity(problem.severity), problem.path, problem.reason)
    };
    problems.iter().map(line).collect()
}

/// What is said of an HTTPRoute with this rule.
fn of_rule(rule: &str) -> Vec<String> {
    said("HTTPRoute", &format!("{{parentRefs: [{CART}], rules: [{rule}]}}"))
}

/// A rule that sends requests somewhere, with more fields.
fn rule(fields: &str) -> String {
    format!("{{backendRefs: [{{name: cart, port: 80}}], {fields}}}")
}

/// Each of these rules is refused, at its place and with these words.
fn refused(cases: &[(&str, &str, &str)]) {
    for (fields, place, words) in cases {
        let said = of_rule(&rule(fields));
        let expected = format!("error spec.rules[0].{place}: ");
        let found = said.iter().find(|line| line.starts_with(&expected) && line.contains(words));
        assert!(found.is_some(), "{fields}: {said:?} lacks {expected}...{words}");
    }
}

fn taken(cases: &[&str]) {
    for fields in cases {
        assert_eq!(of_rule(&rule(fields)), [""; 0], "{fields}");
    }
}

#[test]
fn paths_of_matches_have_the_characters_and_the_normal_form_of_a_path() {
    let path = |value: &str| format!("matches: [{{path: {{value: '{value}'}}}}]");
    for value in ["/", "/a/b", "/a-._~!$&()*+,;=:@", "/%c3%A9", "/a/"] {
        taken(&[&path(value)]);
    }
    for value in [
        "a", "/a//b", "/a/./b", "/a/../b", "/a/..", "/a/.", "/a%2fb", "/a%2Fb", "/a#b", "/a?b", "/a b",
        "/a\"b", "/a<b", "/a%zz", "/a%4", "/é",
    ] {
        refused(&[(&path(value), "matches[0].path.value", "is")]);
    }
    taken(&["matches: [{path: {type: RegularExpression, value: '/a|/b?'}}]"]);
    refused(&[("matches: [{path: {type: RegularExpression, value: '('}}]", "matches[0].path.value", "(")]);
}

#[test]
fn of_header_names_that_are_the_same_the_first_counts_and_the_others_are_told() {
    let matches = |first: &str, second: &str| {
        rule(&format!("matches: [{{headers: [{{name: {first}, value: a}}, {{name: {second}, value: b}}]}}]"))
    };
    let said = of_rule(&matches("Env", "env"));
    assert!(
        said[0].starts_with("warning spec.rules[0].matches[0].headers[1].name: \"env\" has no effect"),
        "{said:?}"
    );
    assert!(
        of_rule(&matches("env", "env"))[0].starts_with("error spec.rules[0].matches[0].headers[1].name: ")
    );
    let set = "filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: A, value: '1'}, {name: a, value: '2'}]}}]";
    let said = of_rule(&rule(set));
    assert!(
        said[0].starts_with("warning spec.rules[0].filters[0].requestHeaderModifier.set[1].name: "),
        "{said:?}"
    );
    refused(&[
        (
            "filters: [{type: RequestHeaderModifier, requestHeaderModifier: {set: [{name: A, value: '1'}], remove: [a]}}]",
            "filters[0].requestHeaderModifier.remove[0]",
            "one action",
        ),
        (
            "filters: [{type: ResponseHeaderModifier, responseHeaderModifier: {add: [{name: Content-Length, value: '1'}]}}]",
            "filters[0].responseHeaderModifier.add[0].name",
            "belongs to the connection",
        ),
    ]);
    refused(&[(
        "matches: [{queryParams: [{name: q, value: a}, {name: q, value: b}]}]",
        "matches[0].queryParams[1].name",
        "twice",
    )]);
}

#[test]
fn a_prefix_is_replaced_only_where_one_prefix_is_matched() {
    let rewrite = "filters: [{type: URLRewrite, urlRewrite: {path: {type: ReplacePrefixMatch, replacePrefixMatch: /x}}}]";
    taken(&[
        rewrite,
        &format!("matches: [{{path: {{value: /a}}}}], {rewrite}"),
        &format!("matches: [{{method: GET}}], {rewrite}"),
    ]);
    for matches in [
        "[{path: {value: /a}}, {path: {value: /b}}]",
        "[{path: {type: Exact, value: /a}}]",
        "[{path: {type: RegularExpression, value: /a}}]",
    ] {
        refused(&[(
            &format!("matches: {matches}, {rewrite}"),
            "filters[0].urlRewrite.path.type",
            "one match",
        )]);
    }
}

#[test]
fn a_rule_that_redirects_has_no_backends_and_does_not_rewrite() {
    let redirect = "{type: RequestRedirect, requestRedirect: {hostname: a.example}}";
    assert_eq!(of_rule(&format!("{{filters: [{redirect}]}}")), [""; 0]);
    refused(&[(&format!("filters: [{redirect}]"), "backendRefs", "redirects")]);
    let both =
        format!("{{filters: [{redirect}, {{type: URLRewrite, urlRewrite: {{hostname: b.example}}}}]}}");
    assert!(of_rule(&both)[0].contains("exclude each other"));
    // A backend may: then its share is redirected.
    let backend = format!("{{backendRefs: [{{name: cart, port: 80, filters: [{redirect}]}}]}}");
    assert_eq!(of_rule(&backend), [""; 0]);
    let twice = format!("{{filters: [{redirect}, {redirect}]}}");
    assert!(of_rule(&twice)[0].contains("is there twice"));
}

#[test]
fn timeouts_and_retries_are_within_bounds() {
    taken(&[
        "timeouts: {request: 1s, backendRequest: 1s}",
        "timeouts: {request: 0s, backendRequest: 10s}",
        "timeouts: {backendRequest: 10s}",
        "retry: {codes: [500, 503, 429], attempts: 3, backoff: 10ms}",
        "retry: {}",
    ]);
    refused(&[
        ("timeouts: {request: 1s, backendRequest: 1001ms}", "timeouts.backendRequest", "more than the 1s"),
        ("timeouts: {request: 1 s}", "timeouts.request", "duration"),
        ("retry: {codes: [399]}", "retry.codes[0]", "from 400 to 599"),
        ("retry: {codes: [503, 503]}", "retry.codes[1]", "twice"),
        ("retry: {attempts: 0}", "retry.attempts", "from 1"),
    ]);
}

#[test]
fn origins_methods_and_headers_of_cors_are_names_or_a_star_alone() {
    let cors = |fields: &str| format!("filters: [{{type: CORS, cors: {{{fields}}}}}]");
    taken(&[
        &cors(
            "allowOrigins: ['*'], allowMethods: ['*'], allowHeaders: ['*'], exposeHeaders: ['*', x-a], maxAge: 1",
        ),
        &cors(
            "allowOrigins: ['https://a.example', 'http://*.example:8080', 'https://*'], allowMethods: [GET, PUT], allowCredentials: true",
        ),
    ]);
    for (fields, place, words) in [
        ("allowOrigins: ['*', 'https://a.example']", "allowOrigins", "alone"),
        ("allowMethods: ['*', GET]", "allowMethods", "alone"),
        ("allowHeaders: [x-a, '*']", "allowHeaders", "alone"),
        ("allowOrigins: ['ftp://a.example']", "allowOrigins[0]", "origin"),
        ("allowOrigins: ['https://a.*.example']", "allowOrigins[0]", "origin"),
        ("allowOrigins: ['https://*a.example']", "allowOrigins[0]", "origin"),
        ("allowOrigins: ['https://a.example/path']", "allowOrigins[0]", "origin"),
        ("allowMethods: [get]", "allowMethods[0]", "method"),
        ("allowMethods: [GET, GET]", "allowMethods[1]", "twice"),
        ("allowHeaders: ['a b']", "allowHeaders[0]", "header"),
        ("maxAge: 0", "maxAge", "at least 1"),
    ] {
        refused(&[(&cors(fields), &format!("filters[0].cors.{place}"), words)]);
    }
}

#[test]
fn sessions_end_as_their_cookies_need_it() {
    let session = |fields: &str| format!("sessionPersistence: {{{fields}}}");
    taken(&[
        &session(""),
        &session("sessionName: sid, type: Header, absoluteTimeout: 1h, idleTimeout: 10m"),
        &session("cookieConfig: {lifetimeType: Session}"),
        &session("cookieConfig: {lifetimeType: Permanent}, absoluteTimeout: 1h"),
    ]);
    for (fields, place, words) in [
        ("cookieConfig: {lifetimeType: Permanent}", "absoluteTimeout", "missing"),
        ("cookieConfig: {lifetimeType: Permanent}, absoluteTimeout: 0s", "absoluteTimeout", "missing"),
        ("type: Header, cookieConfig: {}", "cookieConfig", "Cookie alone"),
        ("cookieConfig: {lifetimeType: Forever}", "cookieConfig.lifetimeType", "unknown"),
        ("sessionName: 'a b'", "sessionName", "name"),
    ] {
        refused(&[(&session(fields), &format!("sessionPersistence.{place}"), words)]);
    }
    let named = rule("sessionPersistence: {sessionName: sid}");
    let said = said("HTTPRoute", &format!("{{parentRefs: [{CART}], rules: [{named}, {named}]}}"));
    assert!(said[0].starts_with("warning spec.rules[1].sessionPersistence.sessionName: \"sid\""), "{said:?}");
}

#[test]
fn a_rule_that_no_request_can_meet_is_told() {
    let matching = |path: &str| rule(&format!("matches: [{{path: {path}}}]"));
    let route = |kind: &str, rules: &[String]| {
        said(kind, &format!("{{parentRefs: [{CART}], rules: [{}]}}", rules.join(", ")))
    };
    let regex = matching("{type: RegularExpression, value: '/v[0-9]+/x'}");
    let everything = rule("");
    for order in [[regex.clone(), everything.clone()], [everything.clone(), regex.clone()]] {
        let at = order.iter().position(|it| *it == regex).unwrap();
        let said = route("HTTPRoute", &order);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].starts_with(&format!("warning spec.rules[{at}]: no request can meet")), "{said:?}");
    }
    assert_eq!(route("HTTPRoute", &[regex, matching("{value: /w}")]), [""; 0]);
    let exact = matching("{type: Exact, value: /a}");
    assert_eq!(route("HTTPRoute", &[everything.clone(), exact.clone()]), [""; 0]);
    assert_eq!(route("HTTPRoute", &[exact.clone(), exact]).len(), 1);
    let method = rule("matches: [{method: {service: a.B, method: C}}]");
    assert_eq!(route("GRPCRoute", &[everything.clone(), method.clone()]), [""; 0]);
    assert_eq!(route("GRPCRoute", &[method.clone(), method]).len(), 1);
}

#[test]
fn a_share_of_copies_is_at_most_all() {
    let mirror = |fields: &str| {
        format!(
            "filters: [{{type: RequestMirror, requestMirror: {{backendRef: {{name: pay, port: 80}}, {fields}}}}}]"
        )
    };
    taken(&[
        &mirror("percent: 0"),
        &mirror("percent: 100"),
        &mirror("fraction: {numerator: 1, denominator: 1000}"),
        &mirror("fraction: {numerator: 100}"),
    ]);
    refused(&[
        (&mirror("percent: 101"), "filters[0].requestMirror.percent", "to 100"),
        (&mirror("fraction: {numerator: 101}"), "filters[0].requestMirror.fraction", "more than denominator"),
        (&mirror("percent: 1, fraction: {numerator: 1}"), "filters[0].requestMirror", "exclude"),
        (
            &mirror("fraction: {numerator: 1, denominator: 0}"),
            "filters[0].requestMirror.fraction.denominator",
            "from 1 to",
        ),
    ]);
}

#[test]
fn a_route_has_at_most_128_matches_and_names_of_rules_are_its_own() {
    let many = |count: usize| {
        let matches = vec!["{method: GET}"; count].join(", ");
        format!("{{backendRefs: [{{name: cart, port: 80}}], matches: [{matches}]}}")
    };
    let route = |rules: &[String]| {
        said("HTTPRoute", &format!("{{parentRefs: [{CART}], rules: [{}]}}", rules.join(", ")))
    };
    assert!(route(&[many(64), many(64)]).iter().all(|said| !said.starts_with("error")));
    let said = route(&[many(64), many(64), many(1)]);
    assert!(said[0].starts_with("error spec.rules: have 129 matches together"), "{said:?}");
    let said = route(&[rule("name: one"), rule("name: one")]);
    assert!(said[0].starts_with("error spec.rules[1]: the rule's name \"one\""), "{said:?}");
}

#[test]
fn parents_that_are_the_same_are_told_apart_by_port_or_section() {
    let parents = |list: &str| said("HTTPRoute", &format!("{{parentRefs: [{list}], rules: [{}]}}", rule("")));
    let cart = |fields: &str| format!("{{group: '', kind: Service, name: cart{fields}}}");
    for (first, second, taken) in [
        (", port: 80", ", port: 81", true),
        (", sectionName: a", ", sectionName: b", true),
        (", port: 80, sectionName: a", ", port: 81, sectionName: b", true),
        (", namespace: web", "", true),
        ("", "", false),
        ("", ", namespace: shop", false),
        (", port: 80", "", false),
        (", port: 80", ", sectionName: a", false),
    ] {
        let said = parents(&[cart(first), cart(second)].join(", "));
        assert_eq!(
            said.iter().all(|line| !line.starts_with("error spec.parentRefs[1]: ")),
            taken,
            "{first} {second}: {said:?}"
        );
    }
}

#[test]
fn hostnames_of_a_services_route_are_told_to_have_no_effect() {
    let said = said(
        "HTTPRoute",
        &format!("{{parentRefs: [{CART}], hostnames: [a.example], rules: [{}]}}", rule("")),
    );
    assert!(said[0].starts_with("warning spec.hostnames: have no effect"), "{said:?}");
}

#[test]
fn methods_of_a_grpc_route_are_names_and_one_of_them_is_there() {
    let grpc = |fields: &str| {
        let rule = format!("{{backendRefs: [{{name: cart, port: 80}}], {fields}}}");
        said("GRPCRoute", &format!("{{parentRefs: [{CART}], rules: [{rule}]}}"))
    };
    let method = |fields: &str| grpc(&format!("matches: [{{method: {{{fields}}}}}]"));
    for fields in [
        "service: shop.v1.Cart",
        "service: .shop.v1.Cart, method: Add_Item",
        "method: AddItem, service: ''",
        "type: RegularExpression, service: 'shop[.].*'",
    ] {
        assert_eq!(method(fields), [""; 0], "{fields}");
    }
    for (fields, words) in [
        ("type: Exact", "neither service nor method"),
        ("service: '', method: ''", "neither service nor method"),
        ("service: shop/Cart", "gRPC service"),
        ("method: Add.Item", "gRPC method"),
        ("type: RegularExpression, method: '('", "regular expression"),
    ] {
        assert!(
            method(fields).iter().any(|line| line.starts_with("error") && line.contains(words)),
            "{fields}: {:?}",
            method(fields)
        );
    }
    for filter in [
        "{type: RequestRedirect, requestRedirect: {hostname: a.example}}",
        "{type: URLRewrite, urlRewrite: {hostname: a.example}}",
        "{type: CORS, cors: {}}",
    ] {
        let said = grpc(&format!("filters: [{filter}]"));
        assert!(said.iter().any(|line| line.contains("a GRPCRoute has no filter")), "{said:?}");
    }
}
