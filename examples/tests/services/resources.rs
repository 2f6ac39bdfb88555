//! The routes in `mesh/` and `splits/`, read by exactly the fields of Gateway API's HTTPRoute, version v1, that they
//! use: a misspelt field is an error.

use std::path::{Path, PathBuf};

use serde::Deserialize;

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct HttpRoute {
    api_version: String,
    kind: String,
    metadata: Metadata,
    spec: Spec,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Metadata {
    name: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Spec {
    parent_refs: Vec<ParentRef>,
    rules: Vec<Rule>,
}

#[derive(Deserialize, PartialEq, Debug)]
#[serde(deny_unknown_fields)]
struct ParentRef {
    group: String,
    kind: String,
    name: String,
    port: u16,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    #[serde(default)]
    matches: Vec<Match>,
    #[serde(default)]
    filters: Vec<Filter>,
    backend_refs: Vec<BackendRef>,
    timeouts: Option<Timeouts>,
    retry: Option<Retry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Match {
    headers: Vec<HeaderMatch>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HeaderMatch {
    r#type: String,
    name: String,
    value: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Filter {
    r#type: String,
    request_mirror: RequestMirror,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RequestMirror {
    backend_ref: BackendRef,
    percent: u8,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct BackendRef {
    name: String,
    port: u16,
    weight: Option<u32>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Timeouts {
    request: String,
    backend_request: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Retry {
    codes: Vec<u16>,
    attempts: u32,
    backoff: String,
}

fn routes() -> Vec<(PathBuf, HttpRoute)> {
    let mut routes = Vec::new();
    for folder in ["mesh", "splits"] {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            let route =
                serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
            routes.push((path, route));
        }
    }
    routes
}

/// GEP-2257, as far as it agrees with what people type elsewhere: one number, one unit.
fn duration(text: &str) -> std::time::Duration {
    weft_values::some_duration(text).unwrap()
}

#[test]
fn every_route_is_for_callers_of_reviews_and_takes_the_place_of_the_others() {
    let routes = routes();
    assert_eq!(routes.len(), 4);
    for (path, route) in routes {
        assert_eq!(route.api_version, "gateway.networking.k8s.io/v1", "{path:?}");
        assert_eq!((route.kind.as_str(), route.metadata.name.as_str()), ("HTTPRoute", "reviews"), "{path:?}");
        let (group, kind, name) = (String::new(), "Service".to_owned(), "reviews".to_owned());
        assert_eq!(route.spec.parent_refs, [ParentRef { group, kind, name, port: 9080 }], "{path:?}");
    }
}

#[test]
fn every_backend_is_a_version_of_reviews() {
    for (path, route) in routes() {
        for rule in route.spec.rules {
            for filter in &rule.filters {
                assert_eq!(filter.r#type, "RequestMirror", "{path:?}");
                assert!(filter.request_mirror.percent <= 100, "{path:?}");
            }
            for header in rule.matches.iter().flat_map(|each| &each.headers) {
                assert_eq!(header.r#type, "Exact", "{path:?}");
                assert!(!header.name.is_empty() && !header.value.is_empty(), "{path:?}");
            }
            let mirrored = rule.filters.iter().map(|filter| &filter.request_mirror.backend_ref);
            for backend in rule.backend_refs.iter().chain(mirrored) {
                let version = backend.name.strip_prefix("reviews-").unwrap_or_default();
                assert!(["v1", "v2", "v3"].contains(&version), "{path:?}: {}", backend.name);
                assert_eq!(backend.port, 9080, "{path:?}");
            }
            // So that a weight reads as a percentage.
            let weights: Vec<u32> = rule.backend_refs.iter().filter_map(|backend| backend.weight).collect();
            assert!(weights.is_empty() || weights.iter().sum::<u32>() == 100, "{path:?}: {weights:?}");
        }
    }
}

#[test]
fn an_attempt_ends_before_its_request_and_retries_are_bounded() {
    for (path, route) in routes() {
        for rule in route.spec.rules {
            if let Some(timeouts) = rule.timeouts {
                let whole = duration(&timeouts.request);
                let attempt = timeouts.backend_request.as_deref().map_or(whole, duration);
                assert!(attempt <= whole, "{path:?}");
            }
            if let Some(retry) = rule.retry {
                assert!(retry.codes.iter().all(|code| (500..=599).contains(code)), "{path:?}");
                assert!(retry.attempts <= 3 && !duration(&retry.backoff).is_zero(), "{path:?}");
            }
        }
    }
}
