//! Connections that go out of use, in order or not.

use weft_hop::{Code, Event, OpenError, Origin, RequestMetadata, ResponseMetadata, Role};

use crate::support::{Pair, events, frame, get, greeted, kind, ok, pass, wire, written, zeros};

#[test]
fn a_draining_server_still_takes_what_is_under_way_and_refuses_what_comes_later() {
    let mut pair = Pair::new();
    let first = pair.open();
    pair.settle();
    pair.server.drain();
    let crossing = pair.open();
    let mut announcement = written(&mut pair.server);
    // The client's second request was under way when the drain began.
    let at_server = pass(&mut pair.client, &mut pair.server, pair.now);
    assert!(matches!(at_server[..], [Event::Request { stream, .. }] if stream == crossing));
    pair.client.receive(&mut announcement, pair.now).unwrap();
    assert!(matches!(events(&mut pair.client)[..], [Event::Drain { code: Code::NoError }]));
    let again = pair.client.open_stream(&get("/"), &RequestMetadata::default(), true);
    assert_eq!(again, Err(OpenError::Draining));
    assert_eq!(pair.client.available_streams(), 0);
    pair.settle();
    assert_eq!(pair.client.open_streams(), 2);
    for stream in [first, crossing] {
        assert!(!pair.server.is_drained() && !pair.client.is_drained());
        pair.client.send_data(stream, zeros(1), true).unwrap();
        pair.server.send_head(stream, &ok(), &ResponseMetadata::default(), true).unwrap();
        pair.settle();
        pair.server.consumed(stream, 1);
    }
    assert!(pair.server.is_drained() && pair.client.is_drained());
}

#[test]
fn a_server_that_is_about_to_end_names_what_it_has_and_refuses_what_was_under_way() {
    let mut pair = Pair::new();
    let first = pair.open();
    pair.settle();
    pair.server.drain_at_once();
    let crossing = pair.open();
    let at_server = pass(&mut pair.client, &mut pair.server, pair.now);
    assert!(at_server.is_empty(), "{at_server:?}");
    pair.server.send_head(first, &ok(), &ResponseMetadata::default(), true).unwrap();
    let mut said = written(&mut pair.server);
    pair.client.receive(&mut said, pair.now).unwrap();
    let happened = events(&mut pair.client);
    let refused: Vec<_> = happened
        .iter()
        .filter_map(|event| match event {
            Event::Reset { stream, processed, .. } => Some((*stream, *processed)),
            _ => None,
        })
        .collect();
    assert_eq!(refused, [(crossing, false)]);
    // The announcement's PING comes back, and changes nothing any more.
    pair.client.send_data(first, zeros(0), true).unwrap();
    pair.settle();
    assert!(pair.server.is_drained() && pair.client.is_drained());
}

#[test]
fn a_stream_after_the_last_one_is_refused_unprocessed() {
    let (mut server, now) = greeted(Role::Server, weft_hop::Config::default());
    server.drain();
    // The peer answers the PING that follows the announcement, then opens a stream nevertheless.
    let sent = written(&mut server);
    let ping = &sent[sent.len() - 8..];
    let head = frame(kind::HEAD, 1, 1, crate::support::PLAIN_REQUEST);
    server.receive(&mut wire(&[frame(kind::PING, 1, 0, ping), head]), now).unwrap();
    assert!(events(&mut server).is_empty());
    let drain = frame(kind::DRAIN, 0, 0, &[0, 0, 0, 0, 0, 0]);
    let reset = frame(kind::RESET, 0, 1, &[0, 7, 0]);
    assert_eq!(written(&mut server), wire(&[drain, reset]));
}

#[test]
fn what_a_drain_names_as_unprocessed_is_over_and_may_be_sent_again() {
    let (mut client, now) = greeted(Role::Client, weft_hop::Config::default());
    let streams: Vec<_> =
        (0..3).map(|_| client.open_stream(&get("/"), &RequestMetadata::default(), true).unwrap()).collect();
    written(&mut client);
    client.receive(&mut wire(&[frame(kind::DRAIN, 0, 0, &[0, 0, 0, 1, 0, 0])]), now).unwrap();
    let happened = events(&mut client);
    let [
        Event::Reset { stream: second, processed: false, by: Origin::Peer, .. },
        Event::Reset { stream: third, processed: false, .. },
        Event::Drain { .. },
    ] = happened[..]
    else {
        panic!("{happened:?}")
    };
    assert_eq!([second, third], streams[1..]);
    assert_eq!(client.open_streams(), 1);
}

#[test]
fn a_draining_client_finishes_what_it_has() {
    let mut pair = Pair::new();
    let stream = pair.open();
    pair.settle();
    pair.client.drain();
    assert_eq!(
        pair.client.open_stream(&get("/"), &RequestMetadata::default(), true),
        Err(OpenError::Draining)
    );
    let (_, at_server) = pair.exchange();
    assert!(matches!(at_server[..], [Event::Drain { code: Code::NoError }]));
    pair.client.send_data(stream, zeros(0), true).unwrap();
    pair.server.send_head(stream, &ok(), &ResponseMetadata::default(), true).unwrap();
    pair.settle();
    assert!(pair.client.is_drained() && pair.server.is_drained());
}

#[test]
fn of_a_lost_connection_what_was_never_written_was_not_processed() {
    let mut pair = Pair::new();
    let sent = pair.open();
    written(&mut pair.client);
    let queued = pair.open();
    pair.client.lost();
    let happened = events(&mut pair.client);
    let [
        Event::Reset { stream: first, processed: true, code: Code::Lost, by: Origin::Local },
        Event::Reset { stream: second, processed: false, .. },
    ] = happened[..]
    else {
        panic!("{happened:?}")
    };
    assert_eq!((first, second), (sent, queued));
    assert!(!pair.client.wants_write());
    assert_eq!(pair.client.counters().receive_promised, 0);
    assert_eq!(pair.client.open_stream(&get("/"), &RequestMetadata::default(), true), Err(OpenError::Closed));
    pair.client.lost();
    assert!(events(&mut pair.client).is_empty());
}

#[test]
fn a_failed_connection_tells_the_peer_why_and_what_was_processed() {
    let mut pair = Pair::new();
    pair.open();
    pair.settle();
    let mut nonsense = wire(&[frame(kind::DATA, 0, 9, b"x")]);
    let error = pair.server.receive(&mut nonsense, pair.now).unwrap_err();
    assert_eq!(error.code(), Code::Protocol);
    assert_eq!(pair.server.receive(&mut nonsense, pair.now), Err(error));
    assert!(matches!(events(&mut pair.server)[..], [Event::Reset { by: Origin::Local, .. }]));
    assert_eq!(written(&mut pair.server), wire(&[frame(kind::DRAIN, 0, 0, &[0, 0, 0, 1, 0, 1])]));
    assert_eq!(pair.server.next_deadline(), None);
}
