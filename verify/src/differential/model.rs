//! What the routes make of an exchange with the application itself, said once more in the plainest way.

use super::case::{Backend, Case};
use super::message::{Arrived, Body, Fields, Got, Reply, Version};

/// What was seen of one exchange.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) arrived: Vec<Arrived>,
    pub(crate) got: Got,
}

/// What there is to see where the routes apply, given what there is without them.
pub(crate) fn with_routes(case: &Case, mut seen: Seen) -> Seen {
    if case.backend != Backend::One || case.point != "routes" {
        return seen;
    }
    let [arrived] = seen.arrived.as_mut_slice() else { return seen };
    let target = String::from_utf8_lossy(&arrived.target).into_owned();
    let (path, query) =
        target.split_once('?').map_or((target.as_str(), None), |(path, query)| (path, Some(query)));
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let below =
        |prefix: &str| path.strip_prefix(prefix).filter(|rest| rest.is_empty() || rest.starts_with('/'));
    if path == "/exact" {
        arrived.backend = Backend::Two;
    } else if let Some(rest) = below("/prefix") {
        arrived.target = format!("/rewritten{rest}{query}").into_bytes();
    } else if below("/modify").is_some() {
        modify(arrived, &mut seen.got.replies);
    } else if below("/redirect").is_some() {
        seen.got.replies = vec![redirected(&query, arrived.version)];
        seen.arrived.clear();
    } else if below("/whole").is_some() {
        arrived.target = format!("/new{query}").into_bytes();
        arrived.authority = Some(b"rewritten.test".to_vec());
    } else if goes_to_two(path, &query, arrived) {
        arrived.backend = Backend::Two;
    }
    seen
}

fn goes_to_two(path: &str, query: &str, arrived: &Arrived) -> bool {
    let below =
        |prefix: &str| path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if below("/method") {
        return arrived.method == b"DELETE";
    }
    if below("/variant") {
        // Several fields of a name are one with their values in a list (RFC 9110 section 5.3).
        let values: Vec<_> = arrived.fields.all("x-variant").collect();
        let value = String::from_utf8_lossy(&values.join(&b","[..])).into_owned();
        return value == "b" || value.strip_prefix('v').is_some_and(|rest| rest.len() == 1 && digits(rest));
    }
    if below("/query") {
        // The first of several of a name counts (`HTTPQueryParamMatch`).
        let mut parameters = query.trim_start_matches('?').split('&').filter_map(|one| one.split_once('='));
        return parameters
            .find(|(name, _)| *name == "v")
            .is_some_and(|(_, value)| value == "2" || value == "%32");
    }
    path.strip_prefix("/regex/").is_some_and(digits)
}

fn modify(arrived: &mut Arrived, replies: &mut [Reply]) {
    let fields = &mut arrived.fields;
    remove(fields, "x-set");
    fields.push("x-set", "1");
    fields.push("x-add", "1");
    remove(fields, "x-remove");
    for reply in replies {
        remove(&mut reply.fields, "x-app");
        reply.fields.push("x-app", "2");
        reply.fields.push("x-added", "1");
        remove(&mut reply.fields, "x-gone");
    }
}

fn remove(fields: &mut Fields, name: &str) {
    fields.0.retain(|(own, _)| !own.eq_ignore_ascii_case(name.as_bytes()));
}

/// In the version of HTTP that the client speaks, which is the one in which its request arrived directly.
fn redirected(query: &str, version: Version) -> Reply {
    Reply {
        interim: Vec::new(),
        version,
        status: 302,
        fields: Fields::of(&[("location", &format!("https://elsewhere.test/moved{query}"))]),
        body: Body { complete: true, ..Body::default() },
        faults: Vec::new(),
    }
}
