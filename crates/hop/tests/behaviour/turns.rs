//! Who may write when.

use bytes::BytesMut;
use weft_hop::{Config, Connection, Event, MAX_PAYLOAD, ResponseMetadata, StreamId};

use crate::support::{Pair, events, ok, pass, zeros};

/// The streams of the DATA frames that one output holds, in order.
fn data_order(output: &mut BytesMut, to: &mut Connection, pair_now: std::time::Instant) -> Vec<StreamId> {
    to.receive(output, pair_now).unwrap();
    events(to)
        .iter()
        .filter_map(|event| if let Event::Data { stream, .. } = event { Some(*stream) } else { None })
        .collect()
}

#[test]
fn large_bodies_take_turns_of_one_frame() {
    let mut pair = Pair::new();
    let streams = [pair.tunnel(), pair.tunnel(), pair.tunnel()];
    for (stream, frames) in streams.iter().zip([3, 1, 2]) {
        pair.server.send_data(*stream, zeros(frames * MAX_PAYLOAD), false).unwrap();
    }
    let mut output = BytesMut::new();
    assert!(!pair.server.write_into(&mut output, usize::MAX));
    let [a, b, c] = streams;
    assert_eq!(data_order(&mut output, &mut pair.client, pair.now), [a, b, c, a, c, a]);
}

#[test]
fn a_turn_that_was_begun_is_continued_by_the_next_output() {
    let mut pair = Pair::new();
    let streams = [pair.tunnel(), pair.tunnel()];
    for stream in streams {
        pair.server.send_data(stream, zeros(2 * MAX_PAYLOAD), false).unwrap();
    }
    let mut order = Vec::new();
    let mut output = BytesMut::new();
    for more in [true, true, true, false] {
        assert_eq!(pair.server.write_into(&mut output, 1), more);
        order.extend(data_order(&mut output, &mut pair.client, pair.now));
    }
    let [a, b] = streams;
    assert_eq!(order, [a, b, a, b]);
}

#[test]
fn a_small_answer_does_not_wait_for_large_bodies() {
    let mut pair = Pair::new();
    let large = pair.tunnel();
    pair.server.send_data(large, zeros(60_000), false).unwrap();
    let small = pair.open();
    pass(&mut pair.client, &mut pair.server, pair.now);
    pair.server.send_head(small, &ok(), &ResponseMetadata::default(), false).unwrap();
    pair.server.send_data(small, zeros(1_000), true).unwrap();
    let mut output = BytesMut::new();
    pair.server.write_into(&mut output, 1);
    assert_eq!(data_order(&mut output, &mut pair.client, pair.now), [small, large]);
}

#[test]
fn each_of_many_streams_gets_its_share_of_every_output() {
    let config = Config { max_queue_total: usize::MAX, ..Config::default() };
    let mut pair = Pair::with(Config::default(), config);
    let streams: Vec<_> = (0..20).map(|_| pair.tunnel()).collect();
    for stream in &streams {
        pair.server.send_data(*stream, zeros(3 * MAX_PAYLOAD), false).unwrap();
    }
    let mut written = vec![0_usize; streams.len()];
    let mut output = BytesMut::new();
    while pair.server.write_into(&mut output, 64 * 1024) {
        for stream in data_order(&mut output, &mut pair.client, pair.now) {
            written[stream.get() as usize - 1] += 1;
        }
        let (least, most) = (written.iter().min().unwrap(), written.iter().max().unwrap());
        assert!(most - least <= 1, "{written:?}");
    }
}

#[test]
fn the_end_follows_the_last_octet_in_the_same_frame() {
    let mut pair = Pair::new();
    let stream = pair.tunnel();
    pair.server.send_data(stream, zeros(MAX_PAYLOAD), false).unwrap();
    pair.server.send_data(stream, zeros(MAX_PAYLOAD), true).unwrap();
    let (at_client, _) = pair.exchange();
    assert!(matches!(&at_client[..], [Event::Data { end: false, .. }, Event::Data { end: true, .. }]));
}

#[test]
fn trailers_follow_a_body_that_is_still_queued() {
    let mut pair = Pair::new();
    let stream = pair.tunnel();
    pair.server.send_data(stream, zeros(60_000), false).unwrap();
    let mut fields = http::HeaderMap::new();
    fields.insert("grpc-status", http::HeaderValue::from_static("0"));
    pair.server.send_trailers(stream, &fields.into()).unwrap();
    let (at_client, _) = pair.exchange();
    assert!(matches!(at_client.last(), Some(Event::Trailers { .. })));
    assert_eq!(at_client.len(), 5);
}
