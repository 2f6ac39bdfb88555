//! Rules of a route that no request can meet: others of the route go before them and take all that they would.

use weft_mesh::route::{self as mesh, HttpMatch};

use crate::problem::{At, Problems};
use crate::{GrpcRouteSpec, HttpRouteMatch, HttpRouteSpec, MatchType, PathMatch, PathMatchType, ValueMatch};

pub(super) fn http(spec: &HttpRouteSpec, rules: &At<'_>, problems: &mut Problems) {
    let of_rule = spec.rules.iter().map(|rule| {
        let made = rule.matches.iter().map(http_match).collect::<Option<Vec<_>>>();
        made.map(|made| if made.is_empty() { vec![HttpMatch::default()] } else { made })
    });
    tell(of_rule, rules, problems);
}

pub(super) fn grpc(spec: &GrpcRouteSpec, rules: &At<'_>, problems: &mut Problems) {
    let of_rule = spec.rules.iter().map(|rule| {
        let made = rule.matches.iter().map(|condition| {
            let made = match &condition.method {
                Some(method) => method.names().compile().ok()?,
                None => HttpMatch::path(mesh::PathMatch::Any),
            };
            condition.headers.iter().try_fold(made, header)
        });
        let made = made.collect::<Option<Vec<_>>>();
        made.map(|made| if made.is_empty() { vec![HttpMatch::path(mesh::PathMatch::Any)] } else { made })
    });
    tell(of_rule, rules, problems);
}

/// Tells of rules none of whose matches can be met; nothing of a route with a match that can't be compiled, which is told
/// elsewhere.
fn tell(rules: impl Iterator<Item = Option<Vec<HttpMatch>>>, at: &At<'_>, problems: &mut Problems) {
    let Some(rules) = rules.collect::<Option<Vec<_>>>() else { return };
    for (index, matches) in rules.iter().enumerate() {
        let shadowing = |shadowed: &HttpMatch| {
            rules.iter().enumerate().find_map(|(other, of_other)| {
                let shadows = |one: &HttpMatch| other != index && one.shadows(shadowed, other < index);
                of_other.iter().any(shadows).then_some(other)
            })
        };
        let all: Option<Vec<usize>> = matches.iter().map(shadowing).collect();
        let Some(by) = all.as_deref().and_then(<[usize]>::first) else { continue };
        let reason = format!(
            "no request can meet this rule: rules[{by}] takes all that it would; an exact path goes before a prefix, \
             and that before a regular expression, so make narrower what rules[{by}] takes"
        );
        problems.warn(&at.item(index), reason);
    }
}

fn http_match(condition: &HttpRouteMatch) -> Option<HttpMatch> {
    let mut made = match &condition.path {
        Some(path) => HttpMatch::path(path_match(path)?),
        None => HttpMatch::default(),
    };
    if let Some(method) = condition.method {
        made = made.method(method.as_str()).ok()?;
    }
    made = condition.headers.iter().try_fold(made, header)?;
    for parameter in &condition.query_params {
        made = made.query(&parameter.name, value(parameter)?);
    }
    Some(made)
}

fn header(made: HttpMatch, header: &ValueMatch) -> Option<HttpMatch> {
    made.header(&header.name, value(header)?).ok()
}

fn path_match(path: &PathMatch) -> Option<mesh::PathMatch> {
    match path.r#type {
        PathMatchType::Exact => mesh::PathMatch::exact(&path.value),
        PathMatchType::PathPrefix => mesh::PathMatch::prefix(&path.value),
        PathMatchType::RegularExpression => mesh::PathMatch::regex(&path.value),
    }
    .ok()
}

fn value(condition: &ValueMatch) -> Option<mesh::ValueMatch> {
    match condition.r#type {
        MatchType::Exact => Some(mesh::ValueMatch::exact(&condition.value)),
        MatchType::RegularExpression => mesh::ValueMatch::regex(&condition.value).ok(),
    }
}
