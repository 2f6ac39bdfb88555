//! What lets versions differ.

use weft_hop::{Config, Event, RequestMetadata, Role};

use crate::support::{PLAIN_REQUEST, events, frame, greeted, kind, wire, written};

#[test]
fn frames_of_unknown_types_are_skipped_on_any_stream() {
    let (mut server, now) = greeted(Role::Server, Config::default());
    let frames = [
        frame(9, 0xff, 0, b"whatever"),
        frame(kind::HEAD, 1, 1, PLAIN_REQUEST),
        frame(200, 0, 1, &[]),
        frame(255, 0, 4_000_000_000, &[7; 100]),
    ];
    server.receive(&mut wire(&frames), now).unwrap();
    assert!(matches!(events(&mut server)[..], [Event::Request { .. }]));
    assert_eq!(server.counters().frames_unknown, 3);
}

#[test]
fn unknown_flags_mean_nothing() {
    let (mut server, now) = greeted(Role::Server, Config::default());
    let frames = [
        frame(kind::HEAD, 0xfc, 1, PLAIN_REQUEST),
        frame(kind::DATA, 0xfe, 1, b"x"),
        frame(kind::PING, 0xfe, 0, &[5; 8]),
    ];
    server.receive(&mut wire(&frames), now).unwrap();
    assert!(matches!(
        events(&mut server)[..],
        [Event::Request { end: false, .. }, Event::Data { end: false, .. }]
    ));
    assert_eq!(written(&mut server), wire(&[frame(kind::PING, 1, 0, &[5; 8])]));
}

#[test]
fn unknown_settings_are_skipped() {
    let (mut client, now) = greeted(Role::Client, Config::default());
    let payload = [0, 99, 1, 2, 3, 4, 0, 1, 0, 0, 0, 7];
    client.receive(&mut wire(&[frame(kind::SETTINGS, 0, 0, &payload)]), now).unwrap();
    assert_eq!(client.peer_settings().max_streams, 7);
    assert_eq!(client.peer_settings().max_fields, 200);
}

#[test]
fn longer_payloads_of_known_types_are_read_as_far_as_they_are_known() {
    let (mut server, now) = greeted(Role::Server, Config::default());
    let frames = [
        frame(kind::HEAD, 0, 1, PLAIN_REQUEST),
        frame(kind::CREDIT, 0, 1, &[0, 0, 0, 1, 9, 9]),
        frame(kind::RESET, 0, 1, &[0, 8, 1, b'w', b'h', b'y']),
        frame(kind::DRAIN, 0, 0, &[0, 0, 0, 0, 0, 0, b'b', b'y', b'e']),
    ];
    server.receive(&mut wire(&frames), now).unwrap();
    let happened = events(&mut server);
    assert!(matches!(happened[..], [Event::Request { .. }, Event::Reset { .. }, Event::Drain { .. }]));
}

#[test]
fn unknown_metadata_is_skipped_and_known_metadata_may_grow() {
    // An unknown tag, an attempt, a trace with something behind it, another unknown tag.
    let mut items = vec![200, 3, 1, 2, 3, 3, 1, 5, 5, 27];
    items.extend([7; 25]);
    items.extend([1, 1, 99, 0]);
    let mut octets = vec![items.len() as u8];
    octets.extend(&items);
    let metadata = RequestMetadata::decode(&octets.into()).unwrap();
    assert_eq!(metadata.attempt, Some(5));
    assert_eq!(metadata.trace.unwrap().flags, 7);
}
