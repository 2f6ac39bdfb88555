//! Where a connection goes whose requests, if there are any, are not seen.

use std::sync::Arc;

use weft_mesh::reason::Reason;
use weft_mesh::route::Target;
use weft_mesh::split::Split;

use super::{ConsideredMatch, Explanation, Outcome, Query, Share, target};
use crate::snapshot::{Backend, Destination};

/// The shares of a connection, by its server name where it is TLS and there are TLSRoutes.
pub(super) fn shares<'a>(
    query: &Query,
    destination: &'a Destination,
    explanation: &mut Explanation,
) -> Result<Vec<Share<'a>>, Outcome> {
    let Some(name) = query.server_name.as_deref().filter(|_| !destination.tls.is_empty()) else {
        if !destination.tls.is_empty() {
            explanation
                .steps
                .push("TLSRoutes have no say: it is asked about without a server name".to_owned());
        }
        return Ok(opaque(destination));
    };
    let mut taken = None;
    for (pattern, route, takes) in destination.tls.explain(Some(name)) {
        let first = takes && taken.is_none();
        if first {
            taken = Some(route);
        }
        explanation.considered.push(ConsideredMatch {
            route: format!("TLSRoute {}", route.name),
            rule: "rules[0]".to_owned(),
            asks: pattern
                .map_or_else(|| "any server name".to_owned(), |name| format!("the server name {name}")),
            taken: first,
            why: match (first, takes) {
                (true, _) => "taken".to_owned(),
                (false, true) => "matches too, but what was taken goes before it".to_owned(),
                (false, false) => format!("the server name is {name}"),
            },
        });
    }
    let Some(route) = taken else {
        let why = format!("no TLSRoute of {} takes connections that ask for {name}", destination.service);
        return Err(Outcome::refused(Reason::NoRoute, &why));
    };
    Ok(of_split(&route.backends))
}

fn opaque(destination: &Destination) -> Vec<Share<'_>> {
    if destination.tcp.is_empty() {
        return Share::whole(&destination.backend);
    }
    of_split(&destination.tcp)
}

fn of_split(split: &Split<Target<Arc<Backend>>>) -> Vec<Share<'_>> {
    let share =
        |(weight, to)| Share { weight, target: target(to), filters: None, matched_prefix: 0, port: 0 };
    split.iter().map(share).collect()
}
