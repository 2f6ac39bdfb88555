//! Where a message ends: by the stream that carries it and by what its head says of it, which have to agree.

use std::time::Instant;

use bytes::BytesMut;
use http::{Request, Response};
use proptest::prelude::*;
use weft_hop::{
    Config, Connection, Event, HeadError, Origin, RequestHead, RequestMetadata, ResponseHead,
    ResponseMetadata, Role,
};

use crate::support::{events, frame, greeted, kind, wire, written};

const END: u8 = 1;

/// The block of a request's head.
fn request(method: &str, target: &str, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = Request::builder().method(method).uri(target);
    for (name, value) in fields {
        builder = builder.header(*name, *value);
    }
    let parts = builder.body(()).unwrap().into_parts().0;
    let mut block = BytesMut::new();
    let head = RequestHead { parts, metadata: RequestMetadata::default() };
    head.encode(&mut block, &Config::default()).unwrap();
    block.to_vec()
}

/// The block of an answer's head.
fn answer(status: u16, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut builder = Response::builder().status(status);
    for (name, value) in fields {
        builder = builder.header(*name, *value);
    }
    let parts = builder.body(()).unwrap().into_parts().0;
    let mut block = BytesMut::new();
    let head = ResponseHead { parts, metadata: ResponseMetadata::default() };
    head.encode(&mut block, &Config::default()).unwrap();
    block.to_vec()
}

/// The block of trailers.
fn trailers(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = vec![0, u8::try_from(fields.len()).unwrap()];
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// What becomes of a stream on which these frames come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fate {
    /// All of it is given on.
    Taken,
    /// The head is not, and the peer is told that nothing was done.
    Unseen,
    /// It ends after its head was given on.
    BrokenOff,
}

fn fate(connection: &mut Connection, now: Instant, frames: &[Vec<u8>]) -> Fate {
    connection.receive(&mut wire(frames), now).expect("the connection goes on");
    let events = events(connection);
    let reset = |event: &Event| matches!(event, Event::Reset { by: Origin::Local, processed: true, .. });
    let refused = events.iter().any(|event| matches!(event, Event::Refused { .. }));
    let seen = events.iter().any(|event| matches!(event, Event::Request { .. } | Event::Response { .. }));
    let out = written(connection);
    match (refused, seen || events.iter().any(reset)) {
        (false, _) => Fate::Taken,
        (true, false) => {
            assert!(out.ends_with(&frame(kind::RESET, 0, 1, &[0, 10, 0])), "{out:?}");
            Fate::Unseen
        }
        (true, true) => {
            assert!(matches!(events.last(), Some(event) if reset(event)), "{events:?}");
            assert!(out.ends_with(&frame(kind::RESET, 0, 1, &[0, 10, 1])), "{out:?}");
            Fate::BrokenOff
        }
    }
}

fn asked(frames: &[Vec<u8>]) -> Fate {
    let (mut server, now) = greeted(Role::Server, Config::default());
    let fate = fate(&mut server, now, frames);
    // Whatever became of it, the next stream is what it is.
    let next = frame(kind::HEAD, END, 2, &request("GET", "/next", &[]));
    server.receive(&mut wire(&[next]), now).unwrap();
    let next = events(&mut server);
    assert!(matches!(&next[..], [Event::Request { end: true, .. }]), "{next:?}");
    fate
}

fn answered(method: &str, fields: &[(&str, &str)], frames: &[Vec<u8>]) -> Fate {
    let (mut client, now) = greeted(Role::Client, Config::default());
    let target = if method == "CONNECT" { "shop:80" } else { "/" };
    let mut builder = Request::builder().method(method).uri(target);
    for (name, value) in fields {
        builder = builder.header(*name, *value);
    }
    let head = builder.body(()).unwrap().into_parts().0;
    client.open_stream(&head, &RequestMetadata::default(), false).unwrap();
    written(&mut client);
    fate(&mut client, now, frames)
}

fn length(length: &str) -> Vec<u8> {
    request("POST", "/", &[("content-length", length)])
}

#[test]
fn a_request_whose_length_is_not_that_of_its_data_is_not_taken() {
    let head = |block: Vec<u8>, flags| frame(kind::HEAD, flags, 1, &block);
    let data = |data: &[u8], flags| frame(kind::DATA, flags, 1, data);
    let end = || frame(kind::TRAILERS, 0, 1, &trailers(&[("x-sum", "1")]));
    for (what, frames, expected) in [
        ("no DATA", vec![head(length("77"), END)], Fate::Unseen),
        ("the end alone", vec![head(length("77"), 0), data(b"", END)], Fate::BrokenOff),
        ("less", vec![head(length("77"), 0), data(b"less", END)], Fate::BrokenOff),
        ("less, then trailers", vec![head(length("77"), 0), data(b"less", 0), end()], Fate::BrokenOff),
        ("more", vec![head(length("4"), 0), data(b"more!", 0)], Fate::BrokenOff),
        ("more, at the end", vec![head(length("4"), 0), data(b"more", 0), data(b"!", END)], Fate::BrokenOff),
        ("more than none", vec![head(length("0"), 0), data(b"!", END)], Fate::BrokenOff),
        ("as much", vec![head(length("4"), 0), data(b"as", 0), data(b"is", END)], Fate::Taken),
        ("as much, then the end", vec![head(length("4"), 0), data(b"asis", 0), data(b"", END)], Fate::Taken),
        ("as much, then trailers", vec![head(length("4"), 0), data(b"asis", 0), end()], Fate::Taken),
        ("none", vec![head(length("0"), END)], Fate::Taken),
        ("unsaid", vec![head(request("POST", "/", &[]), 0), data(b"any", END)], Fate::Taken),
    ] {
        assert_eq!(asked(&frames), expected, "{what}");
    }
}

#[test]
fn a_head_that_frames_its_content_in_another_way_is_not_taken() {
    let upgrade = [("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")];
    for (what, block) in [
        ("a sign", length("+4")),
        ("nothing", length("")),
        ("a list", length("4, 4")),
        ("no number", length("4x")),
        ("too large", length("9223372036854775808")),
        ("the same twice", request("POST", "/", &[("content-length", "4"), ("content-length", "4")])),
        ("a coding", request("POST", "/", &[("transfer-encoding", "chunked")])),
        ("both", request("POST", "/", &[("content-length", "4"), ("transfer-encoding", "chunked")])),
        (
            "twice beside an upgrade",
            request("GET", "/", &[upgrade[0], upgrade[1], ("content-length", "4, 4")]),
        ),
        ("of a tunnel", request("CONNECT", "shop:80", &[("content-length", "4")])),
        ("a tunnel without a host", request("CONNECT", "/path", &[])),
        ("no tunnel", request("GET", "shop:80", &[])),
    ] {
        let data = frame(kind::DATA, END, 1, b"data");
        assert_eq!(asked(&[frame(kind::HEAD, 0, 1, &block), data]), Fate::Unseen, "{what}");
    }
    let tunnel = request("GET", "/", &[upgrade[0], upgrade[1], ("content-length", "0")]);
    let frames = [frame(kind::HEAD, 0, 1, &tunnel), frame(kind::DATA, 0, 1, b"of the tunnel")];
    assert_eq!(asked(&frames), Fate::Taken);
}

#[test]
fn a_tunnel_begins_behind_the_content_of_what_asks_for_it() {
    let fields = [("connection", "Upgrade"), ("upgrade", "tcp"), ("content-length", "4")];
    let head = |flags| frame(kind::HEAD, flags, 1, &request("POST", "/exec", &fields));
    let data = |data: &[u8], flags| frame(kind::DATA, flags, 1, data);
    for (what, frames, expected) in [
        ("content alone", vec![head(0), data(b"asis", END)], Fate::Taken),
        ("the tunnel behind it", vec![head(0), data(b"asis", 0), data(b"of the tunnel", END)], Fate::Taken),
        ("both in one", vec![head(0), data(b"as", 0), data(b"is, and of the tunnel", END)], Fate::Taken),
        ("no content", vec![head(END)], Fate::Unseen),
        ("less", vec![head(0), data(b"asi", END)], Fate::BrokenOff),
    ] {
        assert_eq!(asked(&frames), expected, "{what}");
    }
}

#[test]
fn an_answer_whose_length_is_not_that_of_its_data_is_not_believed() {
    let head = |status, fields: &[_], flags| frame(kind::HEAD, flags, 1, &answer(status, fields));
    let data = |data: &[u8], flags| frame(kind::DATA, flags, 1, data);
    let of = |length| [("content-length", length)];
    for (what, frames, expected) in [
        ("no DATA", vec![head(200, &of("77"), END)], Fate::BrokenOff),
        ("less", vec![head(200, &of("77"), 0), data(b"less", END)], Fate::BrokenOff),
        ("more", vec![head(200, &of("4"), 0), data(b"more!", 0)], Fate::BrokenOff),
        ("a coding", vec![head(200, &[("transfer-encoding", "chunked")], END)], Fate::BrokenOff),
        ("twice", vec![head(200, &[of("1")[0], of("1")[0]], END)], Fate::BrokenOff),
        ("not changed", vec![head(304, &of("77"), END)], Fate::Taken),
        ("no content", vec![head(204, &of("77"), 0), data(b"", END)], Fate::Taken),
        ("content of no content", vec![head(204, &[], 0), data(b"some", END)], Fate::BrokenOff),
        ("a protocol nobody asked for", vec![head(101, &[], 0)], Fate::BrokenOff),
        ("as much", vec![head(200, &of("4"), 0), data(b"asis", END)], Fate::Taken),
    ] {
        assert_eq!(answered("GET", &[], &frames), expected, "{what}");
    }
    assert_eq!(answered("HEAD", &[], &[head(200, &of("77"), END)]), Fate::Taken);
    assert_eq!(answered("HEAD", &[], &[head(200, &of("4"), 0), data(b"some", END)]), Fate::BrokenOff);
    let tunnel = [head(200, &of("4"), 0), data(b"of the tunnel", 0)];
    assert_eq!(answered("CONNECT", &[], &tunnel), Fate::Taken);
    let upgrade = [("connection", "upgrade"), ("upgrade", "websocket")];
    let switched = [head(101, &upgrade, 0), data(b"of the tunnel", 0)];
    assert_eq!(answered("GET", &upgrade, &switched), Fate::Taken);
    assert_eq!(answered("GET", &upgrade, &[head(200, &of("4"), END)]), Fate::BrokenOff);
}

#[test]
fn trailers_that_frame_or_route_end_their_stream() {
    for name in ["content-length", "transfer-encoding", "host", "connection", "upgrade", "te"] {
        let head = frame(kind::HEAD, 0, 1, &request("POST", "/", &[]));
        let end = frame(kind::TRAILERS, 0, 1, &trailers(&[(name, "1")]));
        assert_eq!(asked(&[head, end]), Fate::BrokenOff, "{name}");
    }
}

#[test]
fn streams_that_are_ended_for_what_they_carry_count_as_resets() {
    let (mut server, now) = greeted(Role::Server, Config::default());
    let mut stream = 0;
    while !server.is_paused(now) {
        stream += 1;
        let frames = [frame(kind::HEAD, 0, stream, &length("4")), frame(kind::DATA, END, stream, b"more!")];
        server.receive(&mut wire(&frames), now).unwrap();
        events(&mut server);
        written(&mut server);
    }
    assert_eq!(stream, 10_001);
}

#[test]
fn what_is_wrong_is_told() {
    let (mut server, now) = greeted(Role::Server, Config::default());
    server.receive(&mut wire(&[frame(kind::HEAD, END, 1, &length("77"))]), now).unwrap();
    let told = events(&mut server);
    let [Event::Refused { error: error @ HeadError::Framing(_), .. }] = told[..] else { panic!("{told:?}") };
    assert_eq!(error.to_string(), "the message has less content than its length says");
}

proptest! {
    /// The length is kept exactly where the DATA are as many octets, however they are cut.
    #[test]
    fn a_length_is_kept_where_the_data_are_as_many(
        announced in prop::option::of(0_usize..40),
        pieces in prop::collection::vec(0_usize..20, 0..5),
        by_trailers: bool,
    ) {
        let (mut server, now) = greeted(Role::Server, Config::default());
        let block = announced.map_or_else(|| request("POST", "/", &[]), |octets| length(&octets.to_string()));
        let mut frames = vec![frame(kind::HEAD, 0, 1, &block)];
        frames.extend(pieces.iter().map(|octets| frame(kind::DATA, 0, 1, &vec![7; *octets])));
        frames.push(if by_trailers {
            frame(kind::TRAILERS, 0, 1, &trailers(&[]))
        } else {
            frame(kind::DATA, END, 1, &[])
        });
        server.receive(&mut wire(&frames), now).unwrap();
        let happened = events(&mut server);
        let sum: usize = pieces.iter().sum();
        let kept = announced.is_none_or(|announced| announced == sum);
        let given: usize = happened.iter().map(|event| match event {
            Event::Data { data, .. } => data.len(),
            _ => 0,
        }).sum();
        prop_assert!(announced.is_none_or(|announced| given <= announced));
        prop_assert_eq!(happened.iter().any(|event| matches!(event, Event::Refused { .. })), !kept);
    }
}
