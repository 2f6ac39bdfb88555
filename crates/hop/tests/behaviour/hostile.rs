//! Peers that break rules.

use weft_hop::{Code, Config, ConnectionError, Event, FrameKind, MAX_PAYLOAD, RequestMetadata, Role};

use crate::support::{PLAIN_ANSWER, PLAIN_REQUEST, SECOND, events, frame, get, greeted, kind, wire, written};

/// A server with one open stream, and a client that has opened one.
fn both() -> [(weft_hop::Connection, std::time::Instant); 2] {
    let mut server = greeted(Role::Server, Config::default());
    server.0.receive(&mut wire(&[frame(kind::HEAD, 0, 1, PLAIN_REQUEST)]), server.1).unwrap();
    let mut client = greeted(Role::Client, Config::default());
    client.0.open_stream(&get("/"), &RequestMetadata::default(), false).unwrap();
    written(&mut client.0);
    events(&mut server.0);
    [server, client]
}

/// Sends `flood` to a server over and over until the connection ends; returns how often it went well.
fn survive(prelude: &[Vec<u8>], flood: &[u8], most: usize) -> (usize, Option<ConnectionError>) {
    let (mut server, now) = greeted(Role::Server, Config::default());
    server.receive(&mut wire(prelude), now).unwrap();
    for count in 0..most {
        if let Err(error) = server.receive(&mut flood.into(), now) {
            return (count, Some(error));
        }
        written(&mut server);
    }
    (most, None)
}

#[test]
fn frames_that_carry_nothing_end_the_connection_when_there_are_too_many() {
    let open = frame(kind::HEAD, 0, 1, PLAIN_REQUEST);
    let floods = [
        (frame(kind::PING, 0, 0, &[0; 8]), 20),
        (frame(kind::PING, 1, 0, &[0; 8]), 20),
        // One was used up at the beginning.
        (frame(kind::SETTINGS, 0, 0, &[]), 9),
        (frame(kind::DRAIN, 0, 0, &[0; 6]), 9),
        (frame(kind::DATA, 0, 1, &[]), 100),
        (frame(kind::CREDIT, 0, 1, &[0, 0, 0, 1]), 100),
        (frame(77, 0, 0, &[]), 1_000),
    ];
    for (flood, allowed) in floods {
        let (count, error) = survive(std::slice::from_ref(&open), &flood, 5_000);
        assert!(matches!(error, Some(ConnectionError::Flood { .. })), "{error:?}");
        assert_eq!(count, allowed, "{error:?}");
    }
}

#[test]
fn streams_that_are_opened_and_reset_at_once_pause_the_connection_and_leave_it_to_others() {
    let (mut server, now) = greeted(Role::Server, Config::default());
    let whole = frame(kind::HEAD, 1, 1, PLAIN_REQUEST);
    server.receive(&mut wire(&[whole]), now).unwrap();
    let mut opened = 1;
    let mut flooded = 0;
    while !server.is_paused(now) {
        opened += 1;
        let rapid = [frame(kind::HEAD, 1, opened, PLAIN_REQUEST), frame(kind::RESET, 0, opened, &[0, 8, 0])];
        server.receive(&mut wire(&rapid), now).unwrap();
        flooded += events(&mut server).iter().filter(|event| matches!(event, Event::Flooded)).count();
    }
    assert_eq!((opened, flooded), (10_002, 1));
    // Whose stream it is that was there before has nothing to do with it.
    assert_eq!(server.open_streams(), 1);
    assert!(server.is_paused(now + SECOND / 2));
    assert!(!server.is_paused(now + SECOND));
    let next = frame(kind::HEAD, 1, opened + 1, PLAIN_REQUEST);
    server.receive(&mut wire(&[next]), now + SECOND).unwrap();
    assert!(matches!(&events(&mut server)[..], [Event::Request { .. }]));
}

#[test]
fn interim_answers_without_end_are_dropped() {
    let [_, (mut client, now)] = both();
    let interim = frame(kind::INFORMATIONAL, 0, 1, &[1, 0, 100, 0, 0, 0]);
    for _ in 0..3_000 {
        client.receive(&mut wire(std::slice::from_ref(&interim)), now).unwrap();
    }
    assert_eq!(events(&mut client).len(), 2_000);
    client.receive(&mut wire(&[frame(kind::HEAD, 1, 1, PLAIN_ANSWER)]), now).unwrap();
    assert!(matches!(&events(&mut client)[..], [Event::Response { .. }]));
}

#[test]
fn what_was_counted_is_forgotten_after_a_second() {
    let (mut server, now) = greeted(Role::Server, Config::default());
    for second in 0..5 {
        for _ in 0..20 {
            let mut ping = wire(&[frame(kind::PING, 0, 0, &[0; 8])]);
            server.receive(&mut ping, now + second * SECOND).unwrap();
        }
    }
}

#[test]
fn a_peer_that_is_owed_too_many_answers_and_reads_none_is_given_up() {
    let rates = weft_hop::RateLimits { ping: u32::MAX, ..weft_hop::RateLimits::default() };
    let (mut server, now) = greeted(Role::Server, Config { rates, ..Config::default() });
    let ping = frame(kind::PING, 0, 0, &[0; 8]);
    let result = (0..20_000).try_for_each(|_| server.receive(&mut wire(std::slice::from_ref(&ping)), now));
    assert!(matches!(result, Err(ConnectionError::PeerDoesNotRead { waiting: 10_001 })));
}

#[test]
fn settings_come_first() {
    let now = std::time::Instant::now();
    for role in [Role::Server, Role::Client] {
        let mut connection = weft_hop::Connection::new(role, Config::default(), now);
        let error = connection.receive(&mut wire(&[frame(kind::PING, 0, 0, &[0; 8])]), now).unwrap_err();
        assert!(matches!(error, ConnectionError::Protocol { kind: FrameKind::Ping, .. }), "{error}");
    }
}

#[test]
fn frames_in_the_wrong_place_end_the_connection() {
    let head = |stream| frame(kind::HEAD, 0, stream, PLAIN_REQUEST);
    let at_server = [
        // Not the next stream, or one that was opened before.
        vec![head(3)],
        vec![head(1)],
        vec![head(0)],
        vec![frame(kind::DATA, 0, 2, b"x")],
        vec![frame(kind::DATA, 0, 0, b"x")],
        vec![frame(kind::CREDIT, 0, 2, &[0, 0, 0, 1])],
        vec![frame(kind::RESET, 0, 2, &[0, 0, 0])],
        vec![frame(kind::PING, 0, 1, &[0; 8])],
        vec![frame(kind::SETTINGS, 0, 1, &[])],
        vec![frame(kind::DRAIN, 0, 1, &[0; 6])],
        vec![frame(kind::INFORMATIONAL, 0, 1, &[1, 0, 100, 0, 0, 0])],
        // DATA and trailers after the end.
        vec![frame(kind::DATA, 1, 1, b"x"), frame(kind::DATA, 0, 1, b"x")],
        vec![frame(kind::DATA, 1, 1, b"x"), frame(kind::TRAILERS, 0, 1, &[0, 0])],
        // Something between the frames of a head, be it known or not, and a short one before the last.
        vec![frame(kind::HEAD, 2, 2, &[0; MAX_PAYLOAD]), frame(kind::PING, 0, 0, &[0; 8])],
        vec![frame(kind::HEAD, 2, 2, &[0; MAX_PAYLOAD]), frame(99, 0, 0, &[])],
        vec![frame(kind::HEAD, 2, 2, &[0; MAX_PAYLOAD]), head(3)],
        vec![frame(kind::HEAD, 2, 2, &[0; 100])],
    ];
    let at_client = [
        vec![frame(kind::HEAD, 0, 2, PLAIN_ANSWER)],
        vec![frame(kind::DATA, 0, 1, b"x")],
        vec![frame(kind::TRAILERS, 0, 1, &[0, 0])],
        vec![frame(kind::HEAD, 0, 1, PLAIN_ANSWER), frame(kind::HEAD, 0, 1, PLAIN_ANSWER)],
        vec![frame(kind::HEAD, 0, 1, PLAIN_ANSWER), frame(kind::INFORMATIONAL, 0, 1, &[1, 0, 100, 0, 0, 0])],
    ];
    for (role, cases) in [(0, &at_server[..]), (1, &at_client[..])] {
        for frames in cases {
            let [server, client] = both();
            let (mut connection, now) = if role == 0 { server } else { client };
            let error = connection.receive(&mut wire(frames), now).unwrap_err();
            assert!(matches!(error, ConnectionError::Protocol { .. }), "{frames:?}: {error}");
        }
    }
}

#[test]
fn frames_of_the_wrong_length_end_the_connection() {
    let long = frame(kind::DATA, 0, 1, &vec![0; MAX_PAYLOAD + 1]);
    let short = [
        frame(kind::CREDIT, 0, 1, &[0; 3]),
        frame(kind::RESET, 0, 1, &[0; 2]),
        frame(kind::PING, 0, 0, &[0; 7]),
        frame(kind::DRAIN, 0, 0, &[0; 5]),
        frame(kind::SETTINGS, 0, 0, &[0; 7]),
    ];
    for bad in short.into_iter().chain([long]) {
        let [(mut server, now), _] = both();
        let error = server.receive(&mut wire(&[bad]), now).unwrap_err();
        assert_eq!(error.code(), Code::FrameSize, "{error}");
    }
}

#[test]
fn a_length_that_is_too_long_is_refused_before_the_payload_arrives() {
    let [(mut server, now), _] = both();
    let long = frame(kind::DATA, 0, 1, &vec![0; MAX_PAYLOAD + 1]);
    let error = server.receive(&mut wire(&[long[..8].to_vec()]), now).unwrap_err();
    assert_eq!(error, ConnectionError::FrameTooLong { kind: FrameKind::Data, length: MAX_PAYLOAD + 1 });
}
