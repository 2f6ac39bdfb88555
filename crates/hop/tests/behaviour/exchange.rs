//! Requests and answers from one application to the other.

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use weft_hop::{
    Code, Config, EndpointLoad, Event, Origin, Protocol, RequestMetadata, ResponseMarks, ResponseMetadata,
    StreamError, Trailers,
};

use crate::support::{Pair, events, get, ok, zeros};

#[test]
fn a_request_and_its_answer_arrive_with_bodies_trailers_and_metadata() {
    let mut pair = Pair::new();
    let metadata = RequestMetadata { attempt: Some(2), sampled: true, ..RequestMetadata::default() };
    let stream = pair.client.open_stream(&get("/cart"), &metadata, false).unwrap();
    pair.client.send_data(stream, Bytes::from_static(b"ap"), false).unwrap();
    pair.client.send_data(stream, Bytes::from_static(b"ple"), true).unwrap();
    let (_, at_server) = pair.exchange();
    let [Event::Request { head, end: false, .. }, Event::Data { data, end: true, .. }] = &at_server[..]
    else {
        panic!("{at_server:?}")
    };
    assert_eq!(head.metadata, metadata);
    assert_eq!(data, "apple");

    let mut interim = ok();
    interim.status = StatusCode::EARLY_HINTS;
    pair.server.send_informational(stream, &interim).unwrap();
    let load = Some(EndpointLoad { in_flight: 3, latency_micros: 1_500 });
    let metadata = ResponseMetadata { load, marks: ResponseMarks::PROCESSED, attempts: Some(1) };
    pair.server.send_head(stream, &ok(), &metadata, false).unwrap();
    pair.server.send_data(stream, Bytes::from_static(b"pear"), false).unwrap();
    let mut fields = HeaderMap::new();
    fields.insert("grpc-status", HeaderValue::from_static("0"));
    pair.server.send_trailers(stream, &Trailers::from(fields.clone())).unwrap();
    let (at_client, _) = pair.exchange();
    let [
        Event::Informational { head: hints, .. },
        Event::Response { head, end: false, .. },
        Event::Data { data, end: false, .. },
        Event::Trailers { trailers, .. },
    ] = &at_client[..]
    else {
        panic!("{at_client:?}")
    };
    assert_eq!(hints.status, StatusCode::EARLY_HINTS);
    assert_eq!(head.metadata, metadata);
    assert_eq!(data, "pear");
    assert_eq!(trailers.fields, fields);
    assert_eq!((pair.client.open_streams(), pair.server.open_streams()), (0, 0));
}

#[test]
fn a_tunnel_carries_data_both_ways_and_closes_by_halves() {
    let mut pair = Pair::new();
    let mut head = get("http://example.com:443/chat");
    head.method = Method::CONNECT;
    head.extensions.insert(Protocol::new(Bytes::from_static(b"websocket")).unwrap());
    let stream = pair.client.open_stream(&head, &RequestMetadata::default(), false).unwrap();
    let (_, at_server) = pair.exchange();
    let [Event::Request { head, .. }] = &at_server[..] else { panic!("{at_server:?}") };
    assert_eq!(head.parts.extensions.get::<Protocol>().map(Protocol::as_str), Some("websocket"));
    pair.answer(stream);
    pair.server.send_data(stream, Bytes::from_static(b"hello"), true).unwrap();
    let (at_client, _) = pair.exchange();
    assert!(matches!(&at_client[..], [Event::Response { .. }, Event::Data { end: true, .. }]));
    pair.client.send_data(stream, Bytes::from_static(b"still here"), false).unwrap();
    let (_, at_server) = pair.exchange();
    assert!(matches!(&at_server[..], [Event::Data { end: false, .. }]));
    assert_eq!(pair.server.open_streams(), 1);
    pair.client.send_data(stream, Bytes::new(), true).unwrap();
    let (_, at_server) = pair.exchange();
    assert!(matches!(&at_server[..], [Event::Data { end: true, data, .. }] if data.is_empty()));
    assert_eq!((pair.client.open_streams(), pair.server.open_streams()), (0, 0));
}

#[test]
fn a_reset_says_whether_the_request_was_processed() {
    for processed in [false, true] {
        let mut pair = Pair::new();
        let stream = pair.open();
        pair.exchange();
        pair.server.reset(stream, Code::Overloaded, processed);
        let (at_client, _) = pair.exchange();
        let [Event::Reset { code: Code::Overloaded, processed: said, by: Origin::Peer, .. }] = at_client[..]
        else {
            panic!("{at_client:?}")
        };
        assert_eq!(said, processed);
        assert_eq!(
            pair.client.send_data(stream, Bytes::from_static(b"x"), true),
            Err(StreamError::NotOpen(stream))
        );
    }
}

#[test]
fn a_cancelled_request_drops_its_queue_and_late_frames_are_ignored() {
    let mut pair = Pair::new();
    let stream = pair.tunnel();
    pair.server.send_data(stream, zeros(20_000), false).unwrap();
    pair.client.send_data(stream, zeros(20_000), false).unwrap();
    pair.client.reset(stream, Code::Cancelled, true);
    assert_eq!(pair.client.counters().send_queued, 0);
    // What the server had queued crosses the reset.
    let mut crossing = crate::support::written(&mut pair.server);
    let (_, at_server) = pair.exchange();
    assert!(matches!(&at_server[..], [Event::Reset { code: Code::Cancelled, .. }]));
    pair.client.receive(&mut crossing, pair.now).unwrap();
    assert!(events(&mut pair.client).is_empty());
    assert_eq!(pair.client.counters().frames_late, 2);
    assert_eq!(pair.client.counters().receive_promised, 0);
    assert_eq!(pair.server.counters().receive_promised, 0);
}

#[test]
fn an_answer_that_needs_no_more_of_the_request_arrives_whole_and_stops_the_request() {
    let mut pair = Pair::new();
    let stream = pair.open();
    pair.client.send_data(stream, zeros(10_000), false).unwrap();
    pair.exchange();
    pair.answer(stream);
    pair.server.stop_receiving(stream);
    pair.client.send_data(stream, zeros(10_000), false).unwrap();
    pair.server.send_data(stream, zeros(50_000), true).unwrap();
    let (at_client, at_server) = pair.exchange();
    assert!(at_server.is_empty(), "{at_server:?}");
    let length: usize = at_client
        .iter()
        .filter_map(|event| if let Event::Data { data, .. } = event { Some(data.len()) } else { None })
        .sum();
    assert_eq!(length, 50_000);
    let Some(Event::Reset { code: Code::NoError, by: Origin::Peer, .. }) = at_client.last() else {
        panic!("{at_client:?}")
    };
    assert_eq!((pair.client.open_streams(), pair.server.open_streams()), (0, 0));
    assert_eq!(pair.server.counters().receive_held, 0);
    assert_eq!(pair.client.counters().receive_held, 50_000 + 4 * 64);
    pair.client.consumed(stream, 50_000);
    assert_eq!(pair.client.counters().receive_held, 0);
    assert_eq!(pair.client.counters().receive_promised, 0);
}

#[test]
fn what_is_held_of_a_stream_that_is_over_is_released_without_a_frame() {
    let mut pair = Pair::new();
    let stream = pair.tunnel();
    pair.client.send_data(stream, zeros(10), true).unwrap();
    pair.server.send_data(stream, zeros(10), true).unwrap();
    pair.exchange();
    assert_eq!(pair.server.open_streams(), 0);
    assert!(pair.server.counters().receive_held > 0);
    pair.server.reset(stream, Code::Cancelled, true);
    pair.client.stop_receiving(stream);
    assert_eq!(pair.server.counters().receive_promised, 0);
    assert_eq!(pair.client.counters().receive_promised, 0);
    assert!(!pair.server.wants_write() && !pair.client.wants_write());
}

#[test]
fn calls_out_of_order_are_refused_and_send_nothing() {
    let mut pair = Pair::new();
    let stream = pair.open();
    pair.exchange();
    let mut switching = ok();
    switching.status = StatusCode::SWITCHING_PROTOCOLS;
    let mut hints = ok();
    hints.status = StatusCode::EARLY_HINTS;
    let metadata = ResponseMetadata::default();
    let is_order = |result| matches!(result, Err(StreamError::Order { .. }));
    assert!(is_order(pair.server.send_data(stream, zeros(1), false)));
    assert!(is_order(pair.server.send_trailers(stream, &Trailers::default())));
    assert!(is_order(pair.server.send_informational(stream, &switching)));
    assert!(is_order(pair.server.send_head(stream, &hints, &metadata, false)));
    assert!(is_order(pair.client.send_head(stream, &ok(), &metadata, false)));
    assert!(!pair.server.wants_write() && !pair.client.wants_write());
    pair.server.send_head(stream, &switching, &metadata, false).unwrap();
    assert!(is_order(pair.server.send_informational(stream, &hints)));
    assert!(is_order(pair.server.send_head(stream, &ok(), &metadata, true)));
    pair.server.send_data(stream, zeros(1), true).unwrap();
    assert!(is_order(pair.server.send_data(stream, zeros(1), true)));
    assert_eq!(pair.server.send_capacity(stream), 0);
}

#[test]
fn a_ping_is_answered_with_its_token() {
    let mut pair = Pair::new();
    let token = pair.client.ping();
    let (at_client, _) = pair.exchange();
    assert!(matches!(at_client[..], [Event::Pong { token: said }] if said == token), "{at_client:?}");
}

#[test]
fn a_client_needs_no_answer_before_its_first_request() {
    let mut pair = Pair::with(Config::default(), Config::default());
    let stream = pair.open();
    assert!(pair.client.send_capacity(stream) > 60_000);
    let (_, at_server) = pair.exchange();
    assert!(matches!(&at_server[..], [Event::Request { .. }]));
}
