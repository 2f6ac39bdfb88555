//! Heads and metadata through their blocks and back.

use bytes::{Bytes, BytesMut};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, Version};
use proptest::prelude::*;
use weft_hop::{
    Config, Destination, EndpointLoad, FaultMarks, HeadError, OriginalNames, Protocol, Reason, RequestHead,
    RequestMetadata, ResponseHead, ResponseMarks, ResponseMetadata, RetryState, Route, Text, TraceContext,
};

use crate::support::{get, ok};

type Line = (String, Vec<u8>);

/// Names that have codes, names that don't, in every case.
fn name() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec!["host", "content-type", "etag", "x-request-id", "te", "sec-ch-ua"]);
    let known = (known, any::<u32>()).prop_map(|(name, bits)| mixed_case(name, bits));
    let customary =
        prop::sample::select(vec!["Host", "Content-Type", "ETag", "X-Request-Id", "TE", "Sec-CH-UA"]);
    prop_oneof![known, customary.prop_map(str::to_owned), "[A-Za-z0-9_!~|-]{1,12}", "[ab]"]
}

fn mixed_case(name: &str, bits: u32) -> String {
    let upper = |at: usize| bits >> (at % 32) & 1 == 1;
    let letters = name.chars().enumerate();
    letters.map(|(at, letter)| if upper(at) { letter.to_ascii_uppercase() } else { letter }).collect()
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    let octet = prop_oneof![Just(b'\t'), b' '..=b'~', 0x80_u8..];
    prop::collection::vec(octet, 0..20)
}

fn lines() -> impl Strategy<Value = Vec<Line>> {
    prop::collection::vec((name(), value()), 0..20)
}

fn map_of(lines: &[Line]) -> HeaderMap {
    let mut map = HeaderMap::new();
    for (name, value) in lines {
        map.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(value).unwrap());
    }
    map
}

fn names_of(lines: &[Line]) -> OriginalNames {
    let mut names = OriginalNames::new();
    for (name, _) in lines {
        names.push(name.as_bytes());
    }
    names
}

/// The lines that a head stands for, in order.
fn lines_of(fields: &HeaderMap, names: Option<&OriginalNames>) -> Vec<Line> {
    let mut lines = Vec::new();
    match names {
        Some(names) => names.for_each_line(fields, |name, value| {
            lines.push((String::from_utf8(name.to_vec()).unwrap(), value.as_bytes().to_vec()));
        }),
        None => {
            for (name, value) in fields {
                lines.push((name.to_string(), value.as_bytes().to_vec()));
            }
        }
    }
    lines
}

/// What [`OriginalNames::for_each_line`] promises, told one line at a time.
fn naive_lines(sent: &[Line], fields: &HeaderMap) -> Vec<Line> {
    let mut left: Vec<Line> = lines_of(fields, None);
    let mut lines = Vec::new();
    for (name, _) in sent {
        if let Some(at) = left.iter().position(|(key, _)| key.eq_ignore_ascii_case(name)) {
            lines.push((name.clone(), left.remove(at).1));
        }
    }
    lines.extend(left);
    lines
}

fn target() -> impl Strategy<Value = String> {
    prop_oneof![
        "/[a-zA-Z0-9_.~%/-]{0,20}(\\?[a-z0-9=&/?]{0,10})?",
        "(http|https|ftp)://[a-zA-Z0-9.-]{1,10}(:[1-9][0-9]{0,3})?/[a-z/]{0,10}",
        "[a-zA-Z0-9.-]{1,10}:[1-9][0-9]{0,3}",
        Just("*".to_owned()),
    ]
    .prop_filter("a target that http takes", |target| target.parse::<Uri>().is_ok())
}

fn method() -> impl Strategy<Value = Method> {
    let known = prop::sample::select(vec![
        "GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "CONNECT", "PATCH", "TRACE",
    ]);
    prop_oneof![known.prop_map(str::to_owned), "[A-Za-z!#$]{1,20}"].prop_map(|name| name.parse().unwrap())
}

fn version() -> impl Strategy<Value = Version> {
    prop::sample::select(vec![Version::HTTP_10, Version::HTTP_11, Version::HTTP_2])
}

fn text() -> impl Strategy<Value = Text> {
    ".{0,150}".prop_map(|text| Text::from(text.as_str()))
}

fn request_metadata() -> impl Strategy<Value = RequestMetadata> {
    let destination = (text(), any::<u16>()).prop_map(|(service, port)| Destination { service, port });
    let route = (text(), any::<u16>()).prop_map(|(name, rule)| Route { name, rule });
    let trace =
        any::<([u8; 16], [u8; 8], u8)>().prop_map(|(trace, span, flags)| TraceContext { trace, span, flags });
    let numbers = any::<(Option<u32>, Option<u64>, bool, u8, u8, bool)>();
    let credits = any::<(Option<u32>, Option<u32>)>();
    (prop::option::of(destination), prop::option::of(route), prop::option::of(trace), numbers, credits)
        .prop_map(
            |(
                destination,
                route,
                trace,
                (attempt, deadline_micros, sampled, faults, retry, mirrored),
                credits,
            )| {
                let (answer_credit, body_credit) = credits;
                RequestMetadata {
                    destination,
                    route,
                    attempt,
                    deadline_micros,
                    trace,
                    sampled,
                    faults: FaultMarks::from_bits(faults),
                    retry: RetryState::from_bits(retry),
                    mirrored,
                    answer_credit,
                    body_credit,
                }
            },
        )
}

fn response_metadata() -> impl Strategy<Value = ResponseMetadata> {
    any::<(Option<(u32, u32)>, u8, Option<u32>)>().prop_map(|(load, marks, attempts)| ResponseMetadata {
        load: load.map(|(in_flight, latency_micros)| EndpointLoad { in_flight, latency_micros }),
        marks: ResponseMarks::from_bits(marks),
        attempts,
    })
}

fn round_trip(head: &RequestHead) -> RequestHead {
    let mut block = BytesMut::new();
    head.encode(&mut block, &Config::default()).unwrap();
    RequestHead::decode(&block.freeze(), &Config::default()).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn a_request_of_http_1_arrives_line_by_line(
        lines in lines(),
        method in method(),
        target in target(),
        metadata in request_metadata(),
        version in prop::sample::select(vec![Version::HTTP_10, Version::HTTP_11]),
    ) {
        let mut parts = get(&target);
        // An authority alone is the target of CONNECT, and of nothing else.
        let tunnel = parts.uri.path_and_query().is_none();
        parts.method = match method {
            _ if tunnel => Method::CONNECT,
            Method::CONNECT => Method::GET,
            other => other,
        };
        parts.version = version;
        parts.headers = map_of(&lines);
        parts.extensions.insert(names_of(&lines));
        let sent = RequestHead { parts, metadata };
        let arrived = round_trip(&sent);
        prop_assert_eq!(&arrived.parts.method, &sent.parts.method);
        prop_assert_eq!(arrived.parts.version, sent.parts.version);
        prop_assert_eq!(arrived.parts.uri.to_string(), target);
        prop_assert_eq!(&arrived.metadata, &sent.metadata);
        prop_assert_eq!(&arrived.parts.headers, &sent.parts.headers);
        prop_assert_eq!(lines_of(&arrived.parts.headers, arrived.parts.extensions.get()), lines);
    }

    #[test]
    fn a_request_of_http_2_arrives_with_all_values_of_each_name_in_order(
        lines in lines(),
        target in target(),
        protocol in prop::option::of("[a-z]{1,10}"),
    ) {
        let mut parts = get(&target);
        if protocol.is_some() || parts.uri.path_and_query().is_none() {
            parts.method = Method::CONNECT;
        }
        let protocol = protocol.filter(|_| parts.uri.path_and_query().is_some());
        parts.version = Version::HTTP_2;
        parts.headers = map_of(&lines);
        let protocol = protocol.map(|name| Protocol::new(Bytes::from(name)).unwrap());
        parts.extensions.extend(protocol.clone().map(|protocol| { let mut extensions = http::Extensions::new(); extensions.insert(protocol); extensions }).unwrap_or_default());
        let arrived = round_trip(&RequestHead { parts: parts.clone(), metadata: RequestMetadata::default() });
        prop_assert_eq!(arrived.parts.extensions.get::<OriginalNames>(), None);
        prop_assert_eq!(arrived.parts.extensions.get::<Protocol>(), protocol.as_ref());
        prop_assert_eq!(lines_of(&arrived.parts.headers, None), lines_of(&parts.headers, None));
    }

    #[test]
    fn an_answer_arrives_as_it_was_sent(
        lines in lines(),
        status in (100_u16..=999).prop_filter("a final status", |status| *status == 101 || *status >= 200),
        reason in prop::option::of(value()),
        metadata in response_metadata(),
        version in version(),
    ) {
        let mut parts = ok();
        parts.status = status.try_into().unwrap();
        parts.version = version;
        parts.headers = map_of(&lines);
        let reason = reason.map(|reason| Reason::new(reason.into()).unwrap());
        if let Some(reason) = reason.clone() {
            parts.extensions.insert(reason);
        }
        parts.extensions.insert(names_of(&lines));
        let sent = ResponseHead { parts, metadata };
        let mut block = BytesMut::new();
        sent.encode(&mut block, &Config::default()).unwrap();
        let arrived = ResponseHead::decode(&block.freeze(), &Config::default()).unwrap();
        prop_assert_eq!(arrived.parts.status, sent.parts.status);
        prop_assert_eq!(arrived.parts.extensions.get::<Reason>(), reason.as_ref());
        prop_assert_eq!(arrived.metadata, sent.metadata);
        prop_assert_eq!(&arrived.parts.headers, &sent.parts.headers);
        if version != Version::HTTP_2 {
            prop_assert_eq!(lines_of(&arrived.parts.headers, arrived.parts.extensions.get()), lines);
        }
    }

    #[test]
    fn fields_that_a_proxy_changes_keep_the_places_of_those_that_stay(
        sent in lines(),
        removed in prop::collection::vec(name(), 0..4),
        replaced in lines(),
        added in lines(),
    ) {
        let names = names_of(&sent);
        let mut fields = map_of(&sent);
        for name in removed {
            fields.remove(name.as_str());
        }
        for (name, value) in replaced {
            fields.insert(name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(&value).unwrap());
        }
        for (name, value) in added {
            fields.append(name.parse::<HeaderName>().unwrap(), HeaderValue::from_bytes(&value).unwrap());
        }
        prop_assert_eq!(lines_of(&fields, Some(&names)), naive_lines(&sent, &fields));
    }

    #[test]
    fn a_head_is_decoded_or_refused_whatever_it_holds(mut block in prop::collection::vec(any::<u8>(), 0..200), version in 0_u8..4) {
        if let Some(first) = block.first_mut() {
            *first = version;
        }
        let block = Bytes::from(block);
        let _ = RequestHead::decode(&block, &Config::default());
        let _ = ResponseHead::decode(&block, &Config::default());
        let _ = RequestMetadata::decode(&block);
        let _ = ResponseMetadata::decode(&block);
    }

    #[test]
    fn a_head_with_one_changed_octet_is_refused_or_means_something_that_travels(
        lines in lines(),
        metadata in request_metadata(),
        at: prop::sample::Index,
        octet: u8,
    ) {
        let mut parts = get("http://cart:80/items?x=1");
        parts.headers = map_of(&lines);
        parts.extensions.insert(names_of(&lines));
        let mut block = BytesMut::new();
        RequestHead { parts, metadata }.encode(&mut block, &Config::default()).unwrap();
        let at = at.index(block.len());
        block[at] = octet;
        let Ok(once) = RequestHead::decode(&block.freeze(), &Config::default()) else { return Ok(()) };
        let twice = round_trip(&once);
        prop_assert_eq!(&twice.metadata, &once.metadata);
        prop_assert_eq!(&twice.parts.uri, &once.parts.uri);
        prop_assert_eq!(
            lines_of(&twice.parts.headers, twice.parts.extensions.get()),
            lines_of(&once.parts.headers, once.parts.extensions.get())
        );
    }
}

#[test]
fn a_plain_request_takes_few_octets() {
    let mut parts = get("/items");
    parts.headers.insert("host", HeaderValue::from_static("cart"));
    parts.headers.insert("accept", HeaderValue::from_static("*/*"));
    let mut block = BytesMut::new();
    let head = RequestHead { parts, metadata: RequestMetadata::default() };
    head.encode(&mut block, &Config::default()).unwrap();
    assert_eq!(&block[..], b"\x01\x01\x08\x06/items\x00\x02\x01\x04cart\x03\x03*/*");
}

#[test]
fn what_is_not_a_head_is_refused() {
    let cases: [(&[u8], &str); 15] = [
        (b"\x04\x01\x08\x01/\x00\x00", "an unknown version"),
        (b"\x01\x0a\x08\x01/\x00\x00", "an unknown method"),
        (b"\x01\x00\x03G T\x08\x01/\x00\x00", "a method with a space"),
        (b"\x01\x01\x00\x00\x00", "no target"),
        (b"\x01\x01\x28\x01/\x00\x00", "an unknown part"),
        (b"\x01\x01\x0c\x01a\x01/\x00\x00", "an authority and a path without a scheme"),
        (b"\x01\x01\x08\x03/#a\x00\x00", "a fragment"),
        (b"\x01\x01\x08\x03/ a\x00\x00", "a path with a space"),
        (b"\x01\x01\x08\x01/\x00\x01\x01\x02a\n", "a line feed in a value"),
        (b"\x01\x01\x08\x01/\x00\x01\x01\x01\x00", "a NUL in a value"),
        (b"\x01\x01\x08\x01/\x00\x01\x00\x02a:\x00", "a colon in a name"),
        (b"\x01\x01\x08\x01/\x00\x01\x00\x00\x00", "an empty name"),
        (b"\x01\x01\x08\x01/\x00\x00\x00", "octets behind the fields"),
        (b"\x02\x01\x08\x01/\x00\x01\x00\x01A\x00", "an upper-case name in HTTP/2"),
        (b"\x02\x01\x08\x01/\x00\x01\x81\x00", "a customary name in HTTP/2"),
    ];
    for (block, what) in cases {
        let result = RequestHead::decode(&Bytes::from_static(block), &Config::default());
        assert!(matches!(result, Err(HeadError::Malformed(_))), "{what}: {result:?}");
    }
    let cut = b"\x01\x01\x08\x01/\x00\x01\x01\x05abc";
    for length in 0..cut.len() {
        let block = Bytes::copy_from_slice(&cut[..length]);
        assert_eq!(RequestHead::decode(&block, &Config::default()).unwrap_err(), HeadError::Truncated);
    }
}

#[test]
fn lower_case_names_need_no_original_names() {
    let mut parts = get("/");
    parts.headers.insert("host", HeaderValue::from_static("cart"));
    parts.headers.insert("x-own", HeaderValue::from_static("1"));
    let arrived = round_trip(&RequestHead { parts, metadata: RequestMetadata::default() });
    assert!(arrived.parts.extensions.get::<OriginalNames>().is_none());
}
