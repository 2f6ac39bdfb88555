//! Credit, windows and what is held.

use weft_hop::{
    Config, ConnectionError, Event, FRAME_COST, HELD_BACK_WINDOW, INITIAL_WINDOW, MAX_PAYLOAD,
    RequestMetadata, ResponseMetadata, Role, StreamError, StreamId,
};

use crate::support::{PLAIN_ANSWER, PLAIN_REQUEST, Pair, events, frame, get, greeted, kind, ok, wire, zeros};

/// Sends what fits, hands it over, and does so until nothing fits; returns how much it was.
fn fill(pair: &mut Pair, stream: StreamId) -> usize {
    let mut sent = 0;
    loop {
        let capacity = pair.client.send_capacity(stream);
        if capacity == 0 {
            return sent;
        }
        pair.client.send_data(stream, zeros(capacity), false).unwrap();
        sent += capacity;
        pair.exchange();
    }
}

#[test]
fn a_slow_reader_stops_its_own_stream_only() {
    let mut pair = Pair::new();
    let slow = pair.tunnel();
    let quick = pair.tunnel();
    let sent = fill(&mut pair, slow);
    assert!(sent > INITIAL_WINDOW as usize - 1_000 && sent < INITIAL_WINDOW as usize, "{sent}");
    for _ in 0..100 {
        let capacity = pair.client.send_capacity(quick);
        assert!(capacity > 0);
        pair.client.send_data(quick, zeros(capacity), false).unwrap();
        pair.exchange();
        pair.server.consumed(quick, capacity);
        pair.exchange();
    }
    assert_eq!(pair.client.send_capacity(slow), 0);
    assert!(pair.server.counters().receive_held <= INITIAL_WINDOW as usize);
    pair.server.consumed(slow, sent);
    let (at_client, _) = { pair.exchange() };
    assert!(matches!(at_client[..], [Event::Writable { stream }] if stream == slow), "{at_client:?}");
}

#[test]
fn a_window_grows_to_its_bound_while_the_reader_keeps_up() {
    let mut pair = Pair::new();
    let stream = pair.tunnel();
    for _ in 0..200 {
        let capacity = pair.client.send_capacity(stream);
        pair.client.send_data(stream, zeros(capacity), false).unwrap();
        pair.exchange();
        pair.server.consumed(stream, capacity);
        pair.exchange();
    }
    assert_eq!(pair.server.counters().receive_promised, 1024 * 1024);
    let sent = fill(&mut pair, stream);
    assert!(sent > 1_000_000 && sent < 1024 * 1024, "{sent}");
}

#[test]
fn a_window_does_not_grow_while_the_reader_is_behind() {
    let mut pair = Pair::new();
    let stream = pair.tunnel();
    let mut waiting = fill(&mut pair, stream);
    for _ in 0..20 {
        // The reader takes half of what waits, and the sender fills it up again.
        let taken = waiting / 2 + 1_000;
        pair.server.consumed(stream, taken);
        pair.exchange();
        pair.exchange();
        waiting = waiting - taken + fill(&mut pair, stream);
    }
    assert_eq!(pair.server.counters().receive_promised, INITIAL_WINDOW as usize);
}

#[test]
fn windows_grow_only_as_far_as_further_streams_keep_their_first_ones() {
    let window = INITIAL_WINDOW as usize;
    let config = Config { max_streams: 4, max_receive: 5 * window, ..Config::default() };
    let mut pair = Pair::with(Config::default(), config);
    let stream = pair.tunnel();
    for _ in 0..50 {
        let capacity = pair.client.send_capacity(stream);
        pair.client.send_data(stream, zeros(capacity), false).unwrap();
        pair.exchange();
        pair.server.consumed(stream, capacity);
        pair.exchange();
    }
    assert_eq!(pair.server.counters().receive_promised, 2 * window);
    for _ in 0..3 {
        pair.open();
        let (_, at_server) = pair.exchange();
        assert!(matches!(at_server[..], [Event::Request { .. }]));
    }
    assert_eq!(pair.server.counters().receive_promised, 5 * window);
}

#[test]
fn no_more_streams_are_announced_than_there_is_room_for() {
    let config = Config { max_receive: 3 * INITIAL_WINDOW as usize, ..Config::default() };
    let mut pair = Pair::with(Config::default(), config);
    pair.settle();
    assert_eq!(pair.client.peer_settings().max_streams, 3);
}

#[test]
fn tiny_frames_cost_more_than_they_carry() {
    let (mut server, now) = greeted(Role::Server, Config::default());
    let mut input = wire(&[frame(kind::HEAD, 0, 1, PLAIN_REQUEST)]);
    let tiny = INITIAL_WINDOW / (1 + FRAME_COST);
    for _ in 0..tiny {
        input.extend_from_slice(&frame(kind::DATA, 0, 1, b"x"));
    }
    server.receive(&mut input, now).unwrap();
    assert!(server.counters().receive_held <= INITIAL_WINDOW as usize);
    let error = server.receive(&mut wire(&[frame(kind::DATA, 0, 1, b"x")]), now).unwrap_err();
    assert!(matches!(error, ConnectionError::FlowControl { stream: 1, .. }), "{error}");
}

#[test]
fn more_data_than_credit_ends_the_connection() {
    let (mut server, now) = greeted(Role::Server, Config::default());
    let full = vec![0; MAX_PAYLOAD];
    let mut frames = vec![frame(kind::HEAD, 0, 1, PLAIN_REQUEST)];
    frames.extend((0..4).map(|_| frame(kind::DATA, 0, 1, &full)));
    let error = server.receive(&mut wire(&frames), now).unwrap_err();
    assert_eq!(
        error,
        ConnectionError::FlowControl {
            kind: weft_hop::FrameKind::Data,
            stream: 1,
            excess: u64::from(4 * FRAME_COST)
        }
    );
}

#[test]
fn more_credit_than_there_can_be_ends_the_connection() {
    let (mut client, now) = greeted(Role::Client, Config::default());
    client.open_stream(&get("/"), &weft_hop::RequestMetadata::default(), false).unwrap();
    let most = frame(kind::CREDIT, 0, 1, &(weft_hop::MAX_CREDIT - INITIAL_WINDOW).to_be_bytes());
    let one = frame(kind::CREDIT, 0, 1, &1_u32.to_be_bytes());
    client.receive(&mut wire(&[frame(kind::HEAD, 0, 1, PLAIN_ANSWER), most]), now).unwrap();
    let error = client.receive(&mut wire(&[one]), now).unwrap_err();
    assert!(matches!(error, ConnectionError::FlowControl { excess: 1, .. }), "{error}");
}

#[test]
fn more_than_the_capacity_is_refused_and_nothing_of_it_is_queued() {
    let mut pair = Pair::new();
    let stream = pair.tunnel();
    let capacity = pair.client.send_capacity(stream);
    let result = pair.client.send_data(stream, zeros(capacity + 1), true);
    assert_eq!(result, Err(StreamError::NoCapacity { stream, wanted: capacity + 1, capacity }));
    assert_eq!(pair.client.counters().send_queued, 0);
    pair.client.send_data(stream, zeros(capacity), true).unwrap();
}

#[test]
fn the_queue_of_a_stream_is_bounded_apart_from_its_credit() {
    let config = Config { max_queue: 20_000, max_queue_total: 30_000, ..Config::default() };
    let mut pair = Pair::with(config, Config::default());
    let streams: Vec<_> = (0..3).map(|_| pair.tunnel()).collect();
    for (stream, capacity) in streams.iter().zip([20_000, 20_000, MAX_PAYLOAD]) {
        assert_eq!(pair.client.send_capacity(*stream), capacity);
        pair.client.send_data(*stream, zeros(capacity), false).unwrap();
        assert_eq!(pair.client.send_capacity(*stream), 0);
    }
    pair.client.write_into(&mut bytes::BytesMut::new(), usize::MAX);
    let woken =
        events(&mut pair.client).iter().filter(|event| matches!(event, Event::Writable { .. })).count();
    assert_eq!(woken, 3);
}

#[test]
fn pieces_that_go_into_one_frame_cost_one_frame() {
    let mut pair = Pair::new();
    let stream = pair.tunnel();
    let before = pair.client.send_capacity(stream);
    for _ in 0..100 {
        pair.client.send_data(stream, zeros(10), false).unwrap();
    }
    let (_, at_server) = pair.exchange();
    assert!(matches!(&at_server[..], [Event::Data { data, .. }] if data.len() == 1_000));
    assert_eq!(pair.client.send_capacity(stream), before - 1_000 - FRAME_COST as usize);
}

#[test]
fn data_shares_the_receive_buffer_except_small_pieces_that_wait_behind_others() {
    let (mut server, now) = greeted(Role::Server, Config::default());
    let frames = [
        frame(kind::HEAD, 0, 1, PLAIN_REQUEST),
        frame(kind::DATA, 0, 1, b"first"),
        frame(kind::DATA, 0, 1, b"second"),
        frame(kind::DATA, 0, 1, &[0; 5_000]),
    ];
    let mut input = wire(&frames);
    let buffer = input.as_ptr_range();
    server.receive(&mut input, now).unwrap();
    let shares: Vec<_> = events(&mut server)
        .iter()
        .filter_map(|event| {
            if let Event::Data { data, .. } = event { Some(buffer.contains(&data.as_ptr())) } else { None }
        })
        .collect();
    assert_eq!(shares, [true, false, true]);
}

/// A first credit that is good for one KiB of payload.
const LITTLE: u32 = 1024 + FRAME_COST;

/// Sends of an answer what fits; returns how much it was.
fn fill_answer(pair: &mut Pair, stream: StreamId) -> usize {
    let mut sent = 0;
    loop {
        let capacity = pair.server.send_capacity(stream);
        if capacity == 0 {
            return sent;
        }
        pair.server.send_data(stream, zeros(capacity), false).unwrap();
        sent += capacity;
        pair.exchange();
    }
}

/// A stream whose request states a first credit for its answer, which has begun.
fn stated(pair: &mut Pair, credit: u32) -> StreamId {
    let metadata = RequestMetadata { answer_credit: Some(credit), ..RequestMetadata::default() };
    let stream = pair.client.open_stream(&get("/"), &metadata, true).unwrap();
    pair.exchange();
    pair.server.send_head(stream, &ok(), &ResponseMetadata::default(), false).unwrap();
    pair.exchange();
    stream
}

#[test]
fn an_answer_begins_with_the_credit_that_its_request_states_and_gets_more_when_its_reader_asks() {
    let mut pair = Pair::new();
    pair.settle();
    pair.client.hold_back(true);
    let stream = stated(&mut pair, LITTLE);
    assert_eq!(pair.client.counters().receive_promised, LITTLE as usize);
    assert_eq!(fill_answer(&mut pair, stream), 1024);
    // Neither asking before it has taken what came, nor taking it, is what gives it more.
    assert!(pair.client.wanted(stream));
    pair.client.consumed(stream, 1000);
    assert!(pair.client.wanted(stream));
    pair.client.consumed(stream, 24);
    pair.exchange();
    assert_eq!(pair.server.send_capacity(stream), 0);
    let mut windows = Vec::new();
    for _ in 0..6 {
        assert!(pair.client.wanted(stream));
        pair.exchange();
        windows.push(pair.client.counters().receive_promised);
        let sent = fill_answer(&mut pair, stream);
        assert!(sent > 0);
        pair.client.consumed(stream, sent);
    }
    let doubled = [2, 4, 8].map(|times| times * LITTLE as usize);
    assert_eq!(windows[..3], doubled);
    assert_eq!(windows[3..], [HELD_BACK_WINDOW as usize; 3]);
    pair.client.hold_back(false);
    assert!(pair.client.wanted(stream));
    pair.exchange();
    assert_eq!(pair.client.counters().receive_promised, INITIAL_WINDOW as usize);
    assert!(!pair.client.wanted(stream), "from here on it is one as all others");
}

#[test]
fn what_is_held_back_grows_no_more() {
    let mut pair = Pair::new();
    pair.settle();
    let stream = stated(&mut pair, INITIAL_WINDOW);
    pair.client.hold_back(true);
    for _ in 0..10 {
        let sent = fill_answer(&mut pair, stream);
        pair.client.consumed(stream, sent);
        pair.exchange();
    }
    assert_eq!(pair.client.counters().receive_promised, INITIAL_WINDOW as usize);
}

#[test]
fn a_server_that_knows_nothing_of_first_credits_may_send_as_much_as_ever() {
    let (mut client, now) = greeted(Role::Client, Config::default());
    let metadata = RequestMetadata { answer_credit: Some(LITTLE), ..RequestMetadata::default() };
    client.open_stream(&get("/"), &metadata, true).unwrap();
    assert_eq!(client.counters().receive_promised, INITIAL_WINDOW as usize);
    let mut input = wire(&[frame(kind::HEAD, 0, 1, PLAIN_ANSWER)]);
    for _ in 0..3 {
        input.extend_from_slice(&frame(kind::DATA, 0, 1, &[0; MAX_PAYLOAD]));
    }
    client.receive(&mut input, now).unwrap();
}

#[test]
fn the_body_of_a_request_begins_with_the_credit_that_the_server_has_announced() {
    let mut pair = Pair::new();
    pair.settle();
    // A request that is on its way by then states nothing, and has as much as ever.
    let before = pair.open();
    pair.server.announce_first_credit(LITTLE);
    pair.exchange();
    assert_eq!(pair.client.peer_settings().first_credit, Some(LITTLE));
    assert!(fill(&mut pair, before) > INITIAL_WINDOW as usize - 1_000);
    let metadata = RequestMetadata {
        body_credit: pair.client.peer_settings().first_credit,
        ..RequestMetadata::default()
    };
    let after = pair.client.open_stream(&get("/"), &metadata, false).unwrap();
    pair.exchange();
    assert_eq!(fill(&mut pair, after), 1024);
    assert_eq!(pair.server.counters().receive_promised, (INITIAL_WINDOW + LITTLE) as usize);
    pair.server.consumed(after, 1024);
    assert!(pair.server.wanted(after));
    pair.exchange();
    assert!(fill(&mut pair, after) > INITIAL_WINDOW as usize - 1_000);
}
