//! Header fields that concern a proxy: those of one hop alone, and those about the caller.

use http::header::{
    CONNECTION, HeaderMap, HeaderName, HeaderValue, MAX_FORWARDS, TE, TRANSFER_ENCODING, UPGRADE,
};
use http::{Method, Request};
use smallvec::SmallVec;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");
const PROXY_AUTHORIZATION: HeaderName = HeaderName::from_static("proxy-authorization");

/// Removes the fields that are for one connection alone (RFC 9110 section 7.6.1), also those that `Connection` names.
///
/// `TE: trailers` stays, because gRPC asks for it end to end, and `Trailer` stays, because it announces fields that are
/// forwarded. `Proxy-Authorization` stays as well: it is for the first proxy on the way that asks for it (RFC 9110, section
/// 11.7.2), which the application's own proxy need not be.
pub fn remove_hop_by_hop(headers: &mut HeaderMap) {
    // Most messages have none of them, which one look at each name tells.
    if headers.keys().any(may_be_hop_by_hop) {
        remove(headers);
    }
}

/// Removes the credentials that a client gives to the proxy which it speaks to (RFC 9110, section 11.7.2): nobody further
/// on is to learn them.
pub fn remove_proxy_credentials(headers: &mut HeaderMap) {
    if !headers.keys().any(|name| name == PROXY_AUTHORIZATION) {
        return;
    }
    keep(headers, |name| *name != PROXY_AUTHORIZATION);
}

/// Makes the map anew of the fields that stay: taking fields out of one puts the last field in the place of each, and those
/// that stay have to stay in the order in which they were sent.
fn keep(headers: &mut HeaderMap, mut stays: impl FnMut(&HeaderName) -> bool) {
    let kept = HeaderMap::with_capacity(headers.len());
    let mut last = None;
    for (name, value) in std::mem::replace(headers, kept) {
        // A field that is repeated has its name once.
        if name.is_some() {
            last = name;
        }
        if let Some(name) = last.as_ref().filter(|name| stays(name)) {
            headers.append(name, value);
        }
    }
}

fn may_be_hop_by_hop(name: &HeaderName) -> bool {
    match name.as_str().len() {
        2 => *name == TE,
        7 => *name == UPGRADE,
        10 => *name == CONNECTION || *name == KEEP_ALIVE,
        16 => *name == PROXY_CONNECTION,
        17 => *name == TRANSFER_ENCODING,
        _ => false,
    }
}

fn remove(headers: &mut HeaderMap) {
    let named = named_by_connection(headers);
    let mut te = takes_trailers(headers);
    keep(headers, |name| match *name {
        // The first one stays for all.
        TE => std::mem::take(&mut te),
        _ => !may_be_hop_by_hop(name) && !named.contains(name),
    });
    if let Some(te) = headers.get_mut(TE) {
        *te = HeaderValue::from_static("trailers");
    }
}

fn named_by_connection(headers: &HeaderMap) -> SmallVec<[HeaderName; 2]> {
    headers
        .get_all(CONNECTION)
        .iter()
        // As bytes: one that is no ASCII must not hide the names beside it.
        .flat_map(|value| value.as_bytes().split(|byte| *byte == b','))
        .filter_map(|token| HeaderName::from_bytes(token.trim_ascii()).ok())
        // Fields without which the message is not what was sent: a sender that names them is mistaken or malicious.
        .filter(|name| {
            !matches!(name.as_str(), "te" | "host" | "content-length" | "trailer" | "authorization")
        })
        .collect()
}

fn takes_trailers(headers: &HeaderMap) -> bool {
    let codings = headers.get_all(TE).iter().flat_map(|value| value.as_bytes().split(|byte| *byte == b','));
    codings.into_iter().any(|coding| coding.trim_ascii().eq_ignore_ascii_case(b"trailers"))
}

/// Takes one off how often a TRACE or OPTIONS request may still be forwarded, where it says so (RFC 9110 section 7.6.2).
/// `false`: not even once, so that it is to be answered here.
pub fn may_be_forwarded<B>(request: &mut Request<B>) -> bool {
    if *request.method() != Method::OPTIONS && *request.method() != Method::TRACE {
        return true;
    }
    let headers = request.headers_mut();
    let times = |value: &HeaderValue| value.to_str().ok()?.parse::<u64>().ok();
    match headers.get_all(MAX_FORWARDS).iter().filter_map(times).min() {
        None => true,
        Some(0) => false,
        Some(left) => {
            headers.insert(MAX_FORWARDS, HeaderValue::from(left - 1));
            true
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn map(fields: &[(&str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            headers.append(HeaderName::try_from(*name).unwrap(), HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn fields_of_the_connection_go_and_the_others_stay() {
        let mut headers = map(&[
            ("connection", "keep-alive, X-One"),
            ("connection", "x-two"),
            ("keep-alive", "5"),
            ("x-one", "1"),
            ("x-two", "2"),
            ("x-three", "3"),
            ("transfer-encoding", "chunked"),
        ]);
        remove_hop_by_hop(&mut headers);
        assert_eq!(headers, map(&[("x-three", "3")]));
    }

    #[test]
    fn what_stays_stays_in_its_order() {
        let mut headers = map(&[
            ("host", "a"),
            ("connection", "keep-alive, x-two"),
            ("accept", "1"),
            ("x-two", "2"),
            ("te", "trailers"),
            ("user-agent", "3"),
            ("accept", "4"),
            ("x-last", "5"),
        ]);
        remove_hop_by_hop(&mut headers);
        let order: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(order, ["host", "accept", "te", "user-agent", "x-last"]);
    }

    #[test]
    fn the_credentials_for_a_proxy_stay_until_the_proxy_itself_takes_them() {
        let mut headers = map(&[
            ("connection", "keep-alive"),
            ("accept", "1"),
            ("proxy-authorization", "Basic eDp5"),
            ("proxy-connection", "keep-alive"),
            ("accept", "2"),
            ("user-agent", "3"),
        ]);
        remove_hop_by_hop(&mut headers);
        let order: Vec<&str> = headers.keys().map(HeaderName::as_str).collect();
        assert_eq!(order, ["accept", "proxy-authorization", "user-agent"]);
        remove_proxy_credentials(&mut headers);
        assert_eq!(headers, map(&[("accept", "1"), ("accept", "2"), ("user-agent", "3")]));
    }

    #[test]
    fn te_trailers_stays_alone() {
        let mut headers = map(&[("te", "gzip, trailers")]);
        remove_hop_by_hop(&mut headers);
        assert_eq!(headers, map(&[("te", "trailers")]));
        let mut headers = map(&[("te", "gzip")]);
        remove_hop_by_hop(&mut headers);
        assert!(headers.is_empty());
    }

    #[test]
    fn a_message_cannot_lose_what_frames_it() {
        let mut headers =
            map(&[("connection", "content-length, host"), ("content-length", "5"), ("host", "a")]);
        remove_hop_by_hop(&mut headers);
        assert_eq!(headers, map(&[("content-length", "5"), ("host", "a")]));
    }

    proptest! {
        #[test]
        fn removal_agrees_with_a_list_of_names(
            fields in prop::collection::vec(
                (prop::sample::select(&["a", "b", "host", "keep-alive", "upgrade", "transfer-encoding", "trailer"][..]), "[a-z]{1,3}"),
                0..8,
            ),
            named in prop::collection::vec(prop::sample::select(&["a", "B", "close", "host", " keep-alive", "", "ü"][..]), 0..4),
        ) {
            let gone = |name: &str| {
                let listed = named.iter().any(|listed| listed.trim().eq_ignore_ascii_case(name)) && name != "host";
                listed || ["keep-alive", "upgrade", "transfer-encoding"].contains(&name)
            };
            let fields: Vec<(&str, &str)> = fields.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let expected: Vec<(&str, &str)> = fields.iter().copied().filter(|(name, _)| !gone(name)).collect();
            let mut headers = map(&fields);
            headers.insert(CONNECTION, HeaderValue::from_bytes(named.join(",").as_bytes()).unwrap());
            remove_hop_by_hop(&mut headers);
            prop_assert_eq!(headers, map(&expected));
        }

        #[test]
        fn nothing_else_is_touched(values in prop::collection::vec("[a-z]{1,8}", 0..8)) {
            let fields: Vec<(String, String)> = values.iter().map(|v| (format!("x-{v}"), v.clone())).collect();
            let borrowed: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            let mut headers = map(&borrowed);
            let before = headers.clone();
            headers.insert(CONNECTION, HeaderValue::from_static("close"));
            remove_hop_by_hop(&mut headers);
            prop_assert_eq!(headers, before);
        }
    }
}
