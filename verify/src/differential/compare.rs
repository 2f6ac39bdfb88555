//! Differences between what was seen directly and what was seen through proxies, in words that are the same for the same
//! kind of difference.

use std::collections::BTreeSet;

use super::case::{Backend, Case};
use super::message::{Arrived, Body, Fields, Framing, Reply, Version};
use super::model::Seen;

/// Fields that are looked at as what they say of the message: where it goes, and how it is framed.
const FRAMING: [&str; 3] = ["host", "content-length", "transfer-encoding"];

/// What differs in `own` from `direct`.
pub(crate) fn differences(case: &Case, direct: &Seen, own: &Seen) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    requests(case, direct, own, &mut found);
    answers(direct, own, &mut found);
    found
}

fn requests(case: &Case, direct: &Seen, own: &Seen, found: &mut BTreeSet<String>) {
    match (direct.arrived.len(), own.arrived.len()) {
        (same, other) if same == other => {}
        (1.., 0) => _ = found.insert("request: does not arrive".to_owned()),
        (0, 1..) => _ = found.insert("request: arrives".to_owned()),
        (direct, own) if own > direct => _ = found.insert("request: arrives more often".to_owned()),
        _ => _ = found.insert("request: arrives less often".to_owned()),
    }
    for (direct, own) in direct.arrived.iter().zip(&own.arrived) {
        request(case, direct, own, found);
    }
}

fn request(case: &Case, direct: &Arrived, own: &Arrived, found: &mut BTreeSet<String>) {
    let mut note = |text: String| _ = found.insert(format!("request: {text}"));
    let (asked, met) = (direct.backend, own.backend);
    if asked != met {
        note(format!("reaches {} instead of {}", met.name(), asked.name()));
    }
    if direct.method != own.method {
        note("another method".to_owned());
    }
    if direct.target != own.target {
        note(target(&direct.target, &own.target).to_owned());
    }
    if direct.authority != own.authority {
        note(authority(direct.authority.as_deref(), own.authority.as_deref()).to_owned());
    }
    let declared = if case.backend == Backend::Three { Version::Http2 } else { Version::Http11 };
    if own.version != declared && own.version != direct.version {
        note(format!("in version {}, sent in {}", own.version.name(), direct.version.name()));
    }
    if direct.version == Version::Http10 && own.version != Version::Http10 {
        note("no longer in version 1.0".to_owned());
    }
    let http1 = own.version != Version::Http2 && direct.version != Version::Http2;
    fields("request", &direct.fields, &own.fields, http1, found);
    body("request", &direct.body.borrow(), &own.body.borrow(), found);
    let (faults, mended) = (own.faults.borrow(), direct.faults.borrow());
    for fault in faults.iter().filter(|fault| !mended.contains(fault)) {
        found.insert(format!("request: arrives malformed: {fault}"));
    }
    for fault in mended.iter() {
        let arrives = if faults.contains(fault) { "arrives as it was" } else { "arrives mended" };
        found.insert(format!("request: {arrives}: {fault}"));
    }
}

fn target(direct: &[u8], own: &[u8]) -> &'static str {
    let decoded = |target: &[u8]| target.to_ascii_lowercase();
    if direct.starts_with(b"http://") && own.starts_with(b"/") {
        "path instead of the absolute target"
    } else if decoded(direct) == decoded(own) {
        "target in another case"
    } else if own.is_empty() || direct.is_empty() {
        "target is empty on one side"
    } else {
        "another target"
    }
}

fn authority(direct: Option<&[u8]>, own: Option<&[u8]>) -> &'static str {
    match (direct, own) {
        (Some(direct), Some(own)) if direct.eq_ignore_ascii_case(own) => "host in another case",
        (Some(_), Some(_)) => "another host",
        (None, Some(_)) => "a host where there was none",
        _ => "no host any more",
    }
}

fn answers(direct: &Seen, own: &Seen, found: &mut BTreeSet<String>) {
    let mut note = |text: String| _ = found.insert(format!("answer: {text}"));
    let (theirs, ours) = (&direct.got.replies, &own.got.replies);
    let status =
        |reply: Option<&Reply>| reply.map_or_else(|| "none".to_owned(), |reply| reply.status.to_string());
    let (first, last) = (status(theirs.first()), status(ours.first()));
    let end = |name: &'static str| if name == "kept" || name == "open" { "open" } else { name };
    let (end_direct, end_own) = (direct.got.end.name(), own.got.end.name());
    if first != last {
        note(format!("{last}, {} (directly {first}, {})", end(end_own), end(end_direct)));
        return;
    }
    if theirs.len() != ours.len() {
        note(if ours.len() < theirs.len() { "fewer of them" } else { "more of them" }.to_owned());
    }
    if end_direct != end_own {
        note(format!("then {end_own} instead of {end_direct}"));
    }
    if direct.got.tunnel != own.got.tunnel {
        note("something else comes through the tunnel".to_owned());
    }
    for (direct, own) in theirs.iter().zip(ours) {
        answer(direct, own, found);
    }
}

fn answer(direct: &Reply, own: &Reply, found: &mut BTreeSet<String>) {
    let mut note = |text: String| _ = found.insert(format!("answer: {text}"));
    if direct.status != own.status {
        note(format!("{} (directly {})", own.status, direct.status));
    }
    for status in direct.interim.iter().filter(|status| !own.interim.contains(status)) {
        note(format!("{status} does not come"));
    }
    for status in own.interim.iter().filter(|status| !direct.interim.contains(status)) {
        note(format!("{status} comes"));
    }
    if direct.version != own.version {
        note(format!("in version {} instead of {}", own.version.name(), direct.version.name()));
    }
    // Of an answer without its body, the length that it would have (RFC 9110 section 8.6).
    let length = |reply: &Reply| reply.fields.get("content-length").map(<[u8]>::to_vec);
    if direct.body.framing == Framing::None
        && own.body.framing == Framing::None
        && length(direct) != length(own)
    {
        found.insert("answer: another length of a body that does not come".to_owned());
    }
    fields("answer", &direct.fields, &own.fields, own.version != Version::Http2, found);
    body("answer", &direct.body, &own.body, found);
    for fault in own.faults.iter().filter(|fault| !direct.faults.contains(fault)) {
        found.insert(format!("answer: comes malformed: {fault}"));
    }
    for fault in &direct.faults {
        let comes = if own.faults.contains(fault) { "comes as it was" } else { "comes mended" };
        found.insert(format!("answer: {comes}: {fault}"));
    }
}

fn fields(what: &str, direct: &Fields, own: &Fields, http1: bool, found: &mut BTreeSet<String>) {
    let (before, after) = (direct.names_in_order(), own.names_in_order());
    let values = |fields: &Fields, name: &str| {
        let values: Vec<Vec<u8>> = fields.all(name).map(<[u8]>::to_vec).collect();
        // HTTP/2 may have them one by one and HTTP/1 must not (RFC 9113 section 8.2.3).
        if name == "cookie" { vec![values.join(&b"; "[..])] } else { values }
    };
    for name in before.iter().chain(after.iter().filter(|name| !before.contains(name))) {
        let Ok(text) = std::str::from_utf8(name) else { continue };
        if FRAMING.contains(&text) {
            continue;
        }
        let (direct, own) = (values(direct, text), values(own, text));
        let general: String =
            text.chars().map(|letter| if letter.is_ascii_digit() { '#' } else { letter }).collect();
        let change = match (before.contains(name), after.contains(name)) {
            (true, false) => "without",
            (false, true) => "with",
            _ if direct == own => continue,
            // Several fields of a name mean what one with a list means (RFC 9110 section 5.3).
            _ if list(&direct) == list(&own) => "fields in one list:",
            _ => "another",
        };
        found.insert(format!("{what}: {change} {general}"));
    }
    if !http1 {
        return;
    }
    let common = |names: &[Vec<u8>], others: &[Vec<u8>]| -> Vec<Vec<u8>> {
        let framing = |name: &&Vec<u8>| FRAMING.iter().any(|framing| framing.as_bytes() == name.as_slice());
        names.iter().filter(|name| others.contains(name) && !framing(name)).cloned().collect()
    };
    if common(&before, &after) != common(&after, &before) {
        found.insert(format!("{what}: fields in another order"));
    }
    let spelled = |fields: &Fields, name: &[u8]| {
        fields.0.iter().find(|(own, _)| own.eq_ignore_ascii_case(name)).map(|(own, _)| own.clone())
    };
    if common(&before, &after).iter().any(|name| spelled(direct, name) != spelled(own, name)) {
        found.insert(format!("{what}: names of fields in another case"));
    }
}

/// The elements of a list in several fields, or in one.
fn list(values: &[Vec<u8>]) -> Vec<&[u8]> {
    values.iter().flat_map(|value| value.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii).collect()
}

fn body(what: &str, direct: &Body, own: &Body, found: &mut BTreeSet<String>) {
    let mut note = |text: String| _ = found.insert(format!("{what}: {text}"));
    if direct.complete && !own.complete {
        note("body breaks off".to_owned());
    } else if !direct.complete && own.complete {
        note("body ends as if it were whole".to_owned());
    } else if direct.complete && direct.bytes != own.bytes {
        note("another body".to_owned());
    } else if !direct.bytes.starts_with(&own.bytes) {
        note("other octets before the body breaks off".to_owned());
    }
    let stream = direct.framing == Framing::Stream || own.framing == Framing::Stream;
    if !stream && direct.framing.name() != own.framing.name() {
        note(format!("framed by {} instead of {}", own.framing.name(), direct.framing.name()));
    }
    if direct.complete && own.complete {
        trailers(what, &direct.trailers, &own.trailers, found);
    }
}

fn trailers(what: &str, direct: &Fields, own: &Fields, found: &mut BTreeSet<String>) {
    let (before, after) = (direct.names_in_order(), own.names_in_order());
    for name in before.iter().filter(|name| !after.contains(name)) {
        found.insert(format!("{what}: without trailer {}", String::from_utf8_lossy(name)));
    }
    for name in after.iter().filter(|name| !before.contains(name)) {
        found.insert(format!("{what}: with trailer {}", String::from_utf8_lossy(name)));
    }
    for name in before.iter().filter(|name| after.contains(name)) {
        let name = String::from_utf8_lossy(name);
        if !direct.all(&name).eq(own.all(&name)) {
            found.insert(format!("{what}: another trailer {name}"));
        }
    }
}
