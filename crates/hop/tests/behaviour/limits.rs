//! Limits on streams, heads and time.

use http::HeaderValue;
use weft_hop::{
    Code, Config, ConnectionError, Event, HeadError, OpenError, Origin, RequestMetadata, ResponseMetadata,
    Role, StreamError,
};

use crate::support::{
    PLAIN_ANSWER, PLAIN_REQUEST, Pair, SECOND, events, frame, get, greeted, kind, ok, wire, written,
};

fn large_head(octets: usize) -> http::request::Parts {
    let mut head = get("/");
    head.headers.insert("cookie", HeaderValue::from_bytes(&vec![b'x'; octets]).unwrap());
    head
}

#[test]
fn a_head_longer_than_a_frame_arrives() {
    let mut pair = Pair::new();
    let head = large_head(65_000);
    pair.client.open_stream(&head, &RequestMetadata::default(), true).unwrap();
    let (_, at_server) = pair.exchange();
    let [Event::Request { head: arrived, end: true, .. }] = &at_server[..] else { panic!("{at_server:?}") };
    assert_eq!(arrived.parts.headers, head.headers);
    assert_eq!(pair.server.next_deadline(), None);
}

#[test]
fn a_head_over_the_peers_limits_is_refused_before_it_is_sent() {
    let server = Config { max_head: 20_000, max_fields: 2, ..Config::default() };
    let mut pair = Pair::with(Config::default(), server);
    pair.settle();
    let metadata = RequestMetadata::default();
    assert_eq!(
        pair.client.open_stream(&large_head(20_000), &metadata, true),
        Err(OpenError::Head(HeadError::TooLarge { limit: 20_000 }))
    );
    let mut head = get("/");
    for name in ["a", "b", "c"] {
        head.headers.insert(name, HeaderValue::from_static(""));
    }
    assert_eq!(
        pair.client.open_stream(&head, &metadata, true),
        Err(OpenError::Head(HeadError::TooManyFields { limit: 2 }))
    );
    assert!(!pair.client.wants_write());
    assert_eq!(pair.client.open_streams(), 0);
}

#[test]
fn a_head_over_our_limits_ends_its_stream_unprocessed_and_nothing_else() {
    let server = Config { max_head: 20_000, ..Config::default() };
    let mut pair = Pair::with(Config::default(), server);
    // The client doesn't know the server's limits yet.
    let large = pair.client.open_stream(&large_head(60_000), &RequestMetadata::default(), true).unwrap();
    let small = pair.open();
    let (at_client, at_server) = pair.exchange();
    let [Event::Refused { error: HeadError::TooLarge { .. }, .. }, Event::Request { stream, .. }] =
        at_server[..]
    else {
        panic!("{at_server:?}")
    };
    assert_eq!(stream, small);
    let [Event::Reset { stream, code: Code::HeadTooLarge, processed: false, by: Origin::Peer }] =
        at_client[..]
    else {
        panic!("{at_client:?}")
    };
    assert_eq!(stream, large);
    assert_eq!(pair.server.counters().blocks_refused, 1);
}

#[test]
fn an_answer_over_the_clients_limits_is_refused_before_it_is_sent() {
    let client = Config { max_fields: 0, ..Config::default() };
    let mut pair = Pair::with(client, Config::default());
    let stream = pair.open();
    pair.exchange();
    let mut head = ok();
    head.headers.insert("a", HeaderValue::from_static(""));
    let result = pair.server.send_head(stream, &head, &ResponseMetadata::default(), true);
    assert_eq!(result, Err(StreamError::Head { stream, error: HeadError::TooManyFields { limit: 0 } }));
    assert_eq!(pair.server.open_streams(), 1);
    pair.answer(stream);
}

#[test]
fn an_answer_that_cannot_be_read_ends_its_stream_only() {
    let (mut client, now) = greeted(Role::Client, Config::default());
    for _ in 0..2 {
        client.open_stream(&get("/"), &RequestMetadata::default(), true).unwrap();
    }
    written(&mut client);
    // A code of a name that there isn't.
    let bad = frame(kind::HEAD, 0, 1, &[1, 0, 200, 0, 0, 1, 0x7f, 0]);
    client.receive(&mut wire(&[bad, frame(kind::HEAD, 1, 2, PLAIN_ANSWER)]), now).unwrap();
    let happened = events(&mut client);
    let [
        Event::Refused { .. },
        Event::Reset { code: Code::Malformed, processed: true, by: Origin::Local, .. },
        Event::Response { end: true, .. },
    ] = happened[..]
    else {
        panic!("{happened:?}")
    };
    assert_eq!(written(&mut client), wire(&[frame(kind::RESET, 0, 1, &[0, 10, 1])]));
}

#[test]
fn streams_beyond_the_limit_are_refused_unprocessed() {
    let server = Config { max_streams: 2, ..Config::default() };
    let mut pair = Pair::with(Config::default(), server);
    for _ in 0..3 {
        pair.open();
    }
    let (at_client, at_server) = pair.exchange();
    assert_eq!(at_server.len(), 2);
    assert!(matches!(at_client[..], [Event::Reset { code: Code::Refused, processed: false, .. }]));
    assert_eq!(
        pair.client.open_stream(&get("/"), &RequestMetadata::default(), true),
        Err(OpenError::TooManyStreams { open: 2 })
    );
    assert_eq!(pair.client.available_streams(), 0);
    assert_eq!(pair.server.counters().streams_refused, 1);
}

#[test]
fn no_stream_is_opened_while_many_heads_wait() {
    let client = Config { max_queued_heads: 1_000, ..Config::default() };
    let mut pair = Pair::with(client, Config::default());
    pair.client.open_stream(&large_head(2_000), &RequestMetadata::default(), true).unwrap();
    let refused = pair.client.open_stream(&get("/"), &RequestMetadata::default(), true);
    assert!(matches!(refused, Err(OpenError::Congested { queued }) if queued > 2_000));
    pair.exchange();
    pair.open();
}

#[test]
fn only_clients_open_streams() {
    let mut pair = Pair::new();
    let refused = pair.server.open_stream(&get("/"), &RequestMetadata::default(), true);
    assert_eq!(refused, Err(OpenError::NotClient));
    assert_eq!(pair.server.available_streams(), 0);
}

#[test]
fn a_peer_that_says_nothing_is_given_up() {
    let mut pair = Pair::new();
    let deadline = pair.server.next_deadline().unwrap();
    assert_eq!(deadline, pair.now + 15 * SECOND);
    pair.server.check_deadlines(deadline.checked_sub(SECOND).unwrap()).unwrap();
    let error = pair.server.check_deadlines(deadline).unwrap_err();
    assert_eq!(error, ConnectionError::SettingsTimeout { limit: 15 * SECOND });
    assert_eq!(pair.server.check_deadlines(deadline), Err(error));
}

#[test]
fn a_head_that_is_not_finished_in_time_ends_the_connection() {
    let full = vec![0; weft_hop::MAX_PAYLOAD];
    let continued = frame(kind::HEAD, 2, 1, &full);
    let cut = frame(kind::HEAD, 1, 1, PLAIN_REQUEST)[..10].to_vec();
    for begun in [continued, cut] {
        let (mut server, now) = greeted(Role::Server, Config::default());
        assert_eq!(server.next_deadline(), None);
        let mut input = wire(&[begun]);
        server.receive(&mut input, now).unwrap();
        server.receive(&mut input, now + SECOND).unwrap();
        assert_eq!(server.next_deadline(), Some(now + 15 * SECOND));
        server.check_deadlines(now + 14 * SECOND).unwrap();
        let error = server.check_deadlines(now + 15 * SECOND).unwrap_err();
        assert_eq!(error, ConnectionError::HeadTimeout { stream: 1, limit: 15 * SECOND });
    }
}

#[test]
fn a_head_that_trickles_in_has_no_deadline_once_it_is_whole() {
    let (mut server, now) = greeted(Role::Server, Config::default());
    let whole = frame(kind::HEAD, 1, 1, PLAIN_REQUEST);
    let mut input = wire(&[whole[..10].to_vec()]);
    server.receive(&mut input, now).unwrap();
    assert!(server.next_deadline().is_some());
    input.extend_from_slice(&whole[10..]);
    server.receive(&mut input, now).unwrap();
    assert_eq!(server.next_deadline(), None);
    assert!(matches!(events(&mut server)[..], [Event::Request { .. }]));
}
