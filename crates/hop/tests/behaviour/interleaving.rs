//! Any order of calls and any cut of the octets between them gives the same bodies.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::{Bytes, BytesMut};
use proptest::prelude::*;
use weft_hop::{
    Code, Config, Connection, Event, INITIAL_WINDOW, RequestMetadata, ResponseMetadata, Role, StreamId,
    Trailers,
};

use crate::support::{get, ok};

/// One thing that happens on one side or between the two.
#[derive(Debug, Clone)]
enum Step {
    Open {
        end: bool,
    },
    /// Sends up to so many octets on one of the streams, from the client or the server.
    Send {
        from_client: bool,
        which: usize,
        length: usize,
        end: bool,
    },
    Trailers {
        from_client: bool,
        which: usize,
    },
    /// Lets the reader of one of the streams take up to so many octets.
    Consume {
        at_client: bool,
        which: usize,
        length: usize,
    },
    /// Writes up to about so many octets.
    Write {
        client: bool,
        limit: usize,
    },
    /// Carries up to so many octets.
    Carry {
        to_server: bool,
        length: usize,
    },
    Ping {
        client: bool,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let which = 0_usize..1_000;
    let length = prop_oneof![0_usize..10, 0_usize..5_000, 0_usize..100_000];
    prop_oneof![
        1 => any::<bool>().prop_map(|end| Step::Open { end }),
        6 => (any::<bool>(), which.clone(), length.clone(), prop::bool::weighted(0.1))
            .prop_map(|(from_client, which, length, end)| Step::Send { from_client, which, length, end }),
        1 => (any::<bool>(), which.clone()).prop_map(|(from_client, which)| Step::Trailers { from_client, which }),
        4 => (any::<bool>(), which, length.clone())
            .prop_map(|(at_client, which, length)| Step::Consume { at_client, which, length }),
        4 => (any::<bool>(), length.clone()).prop_map(|(client, limit)| Step::Write { client, limit }),
        6 => (any::<bool>(), length).prop_map(|(to_server, length)| Step::Carry { to_server, length }),
        1 => any::<bool>().prop_map(|client| Step::Ping { client }),
    ]
}

/// One direction of a stream, as its sender and its receiver see it.
#[derive(Debug, Default)]
struct Direction {
    sent: usize,
    send_ended: bool,
    received: usize,
    consumed: usize,
    receive_ended: bool,
}

/// One side: its connection, what it has written, and the directions that it sends.
struct Side {
    connection: Connection,
    written: BytesMut,
    input: BytesMut,
    sends: BTreeMap<StreamId, Direction>,
    pongs: usize,
}

impl Side {
    fn new(role: Role, config: Config, now: Instant) -> Self {
        Self {
            connection: Connection::new(role, config, now),
            written: BytesMut::new(),
            input: BytesMut::new(),
            sends: BTreeMap::new(),
            pongs: 0,
        }
    }

    fn pick(&self, which: usize) -> Option<StreamId> {
        self.sends.keys().nth(which % self.sends.len().max(1)).copied()
    }

    fn write(&mut self, limit: usize) {
        let mut output = BytesMut::new();
        self.connection.write_into(&mut output, limit);
        self.written.extend_from_slice(&output);
    }
}

struct World {
    client: Side,
    server: Side,
    bound: usize,
    now: Instant,
}

/// The octet at a place of a body: differs between streams, directions and neighbouring places.
fn octet(stream: StreamId, from_client: bool, at: usize) -> u8 {
    (at.wrapping_mul(31) ^ (at >> 8) ^ (stream.get() as usize * 7) ^ usize::from(from_client)) as u8
}

impl World {
    fn new(config: &Config) -> Self {
        let now = Instant::now();
        Self {
            client: Side::new(Role::Client, config.clone(), now),
            server: Side::new(Role::Server, config.clone(), now),
            bound: config.max_receive,
            now,
        }
    }

    fn side(&mut self, client: bool) -> &mut Side {
        if client { &mut self.client } else { &mut self.server }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Open { end } => {
                if let Ok(stream) =
                    self.client.connection.open_stream(&get("/"), &RequestMetadata::default(), end)
                {
                    self.client.sends.insert(stream, Direction { send_ended: end, ..Direction::default() });
                }
            }
            Step::Send { from_client, which, length, end } => {
                if let Some(stream) = self.side(from_client).pick(which) {
                    self.send(from_client, stream, length, end);
                }
            }
            Step::Trailers { from_client, which } => {
                let side = self.side(from_client);
                let Some(stream) = side.pick(which) else { return };
                let direction = side.sends.get_mut(&stream).unwrap();
                if !direction.send_ended {
                    side.connection.send_trailers(stream, &Trailers::default()).unwrap();
                    direction.send_ended = true;
                }
            }
            Step::Consume { at_client, which, length } => {
                if let Some(stream) = self.side(!at_client).pick(which) {
                    self.consume(at_client, stream, length);
                }
            }
            Step::Write { client, limit } => self.side(client).write(limit),
            Step::Carry { to_server, length } => self.carry(to_server, length),
            Step::Ping { client } => {
                self.side(client).connection.ping();
            }
        }
        self.check();
    }

    fn send(&mut self, from_client: bool, stream: StreamId, length: usize, end: bool) {
        let side = self.side(from_client);
        let direction = side.sends.get_mut(&stream).unwrap();
        if direction.send_ended {
            return;
        }
        let length = length.min(side.connection.send_capacity(stream));
        let data: Bytes =
            (direction.sent..direction.sent + length).map(|at| octet(stream, from_client, at)).collect();
        side.connection.send_data(stream, data, end).unwrap();
        direction.sent += length;
        direction.send_ended = end;
    }

    fn consume(&mut self, at_client: bool, stream: StreamId, length: usize) {
        let direction = self.side(!at_client).sends.get_mut(&stream).unwrap();
        let length = length.min(direction.received - direction.consumed);
        direction.consumed += length;
        self.side(at_client).connection.consumed(stream, length);
    }

    fn carry(&mut self, to_server: bool, length: usize) {
        let now = self.now;
        let from = self.side(to_server);
        let cut = from.written.split_to(length.min(from.written.len()));
        let to = self.side(!to_server);
        to.input.extend_from_slice(&cut);
        to.connection.receive(&mut to.input, now).unwrap();
        while let Some(event) = self.side(!to_server).connection.poll_event() {
            self.happen(to_server, event);
        }
    }

    fn happen(&mut self, at_server: bool, event: Event) {
        match event {
            Event::Request { stream, end, .. } => {
                self.client.sends.get_mut(&stream).unwrap().receive_ended = end;
                let head =
                    self.server.connection.send_head(stream, &ok(), &ResponseMetadata::default(), false);
                head.unwrap();
                self.server.sends.insert(stream, Direction::default());
            }
            Event::Data { stream, data, end } => {
                let direction = self.side(at_server).sends.get_mut(&stream).unwrap();
                for (at, found) in (direction.received..).zip(&data) {
                    assert_eq!(*found, octet(stream, at_server, at), "{stream} at {at}");
                }
                assert!(!direction.receive_ended);
                direction.received += data.len();
                direction.receive_ended = end;
                assert!(direction.received <= direction.sent);
            }
            Event::Trailers { stream, .. } => {
                let direction = self.side(at_server).sends.get_mut(&stream).unwrap();
                assert!(!direction.receive_ended);
                direction.receive_ended = true;
            }
            Event::Pong { .. } => self.side(!at_server).pongs += 1,
            Event::Response { end, .. } => assert!(!end),
            // Room that bodies of streams that are over still take is not there for new ones.
            Event::Reset { stream, code: Code::Refused, processed: false, .. } => {
                self.client.sends.remove(&stream);
            }
            Event::Settings | Event::Writable { .. } => {}
            other => panic!("{other:?}"),
        }
    }

    /// What holds at any time.
    fn check(&mut self) {
        for side in [&self.client, &self.server] {
            let counters = side.connection.counters();
            assert!(counters.receive_promised <= self.bound, "{counters:?}");
            assert!(counters.receive_held <= counters.receive_promised, "{counters:?}");
        }
        for (receiver, sends) in
            [(&self.server.connection, &self.client.sends), (&self.client.connection, &self.server.sends)]
        {
            let waiting: usize =
                sends.values().map(|direction| direction.received - direction.consumed).sum();
            assert!(receiver.counters().receive_held >= waiting);
        }
    }

    /// Ends all streams, lets everything through, and checks that all of it arrived.
    fn finish(&mut self) {
        for _ in 0..10_000 {
            for client in [true, false] {
                let streams: Vec<_> = self.side(client).sends.keys().copied().collect();
                for stream in streams {
                    self.send(client, stream, 0, true);
                    self.consume(!client, stream, usize::MAX);
                }
                self.side(client).write(100_000);
                self.carry(client, usize::MAX);
            }
            let is_quiet = |side: &Side| !side.connection.wants_write() && side.written.is_empty();
            if is_quiet(&self.client) && is_quiet(&self.server) {
                break;
            }
        }
        for side in [&self.client, &self.server] {
            for (stream, direction) in &side.sends {
                assert!(direction.receive_ended, "{stream} {direction:?}");
                assert_eq!(direction.received, direction.sent, "{stream}");
            }
        }
        for client in [true, false] {
            let streams: Vec<_> = self.side(client).sends.keys().copied().collect();
            for stream in streams {
                self.consume(!client, stream, usize::MAX);
            }
        }
        for side in [&self.client, &self.server] {
            let counters = side.connection.counters();
            assert_eq!(counters.streams, 0);
            assert_eq!((counters.receive_held, counters.receive_promised, counters.send_queued), (0, 0, 0));
        }
    }
}

/// Frames of a client that does a bit of everything.
fn conversation(lengths: &[usize]) -> BytesMut {
    let mut client = Connection::new(Role::Client, Config::default(), Instant::now());
    let mut out = BytesMut::new();
    for (at, length) in lengths.iter().enumerate() {
        let mut head = get("/");
        head.headers.insert("cookie", http::HeaderValue::from_bytes(&vec![b'x'; *length]).unwrap());
        let stream = client.open_stream(&head, &RequestMetadata::default(), at % 5 == 4).unwrap();
        match at % 5 {
            0 => client.send_data(stream, Bytes::from(vec![1; *length]), true).unwrap(),
            1 => client.send_data(stream, Bytes::from(vec![2; *length]), false).unwrap(),
            2 => client.send_trailers(stream, &Trailers::default()).unwrap(),
            3 => client.reset(stream, Code::Cancelled, true),
            _ => {
                client.ping();
            }
        }
        let mut part = BytesMut::new();
        client.write_into(&mut part, 30_000);
        out.extend_from_slice(&part);
    }
    client.drain();
    let mut part = BytesMut::new();
    while client.write_into(&mut part, usize::MAX) {}
    out.extend_from_slice(&part);
    out
}

/// What a server makes of `input` when it comes in pieces that end at `cuts`, and what it writes.
fn served(input: &BytesMut, cuts: &[usize]) -> (Vec<String>, BytesMut) {
    let now = Instant::now();
    let mut server = Connection::new(Role::Server, Config::default(), now);
    let mut buffer = BytesMut::new();
    let mut happened = Vec::new();
    let mut from = 0;
    for to in cuts.iter().copied().chain([input.len()]) {
        buffer.extend_from_slice(&input[from..to]);
        from = to;
        let result = server.receive(&mut buffer, now);
        happened.extend(std::iter::from_fn(|| server.poll_event()).map(|event| format!("{event:?}")));
        if let Err(error) = result {
            happened.push(error.to_string());
            break;
        }
    }
    let mut answer = BytesMut::new();
    server.write_into(&mut answer, usize::MAX);
    (happened, answer)
}

fn cuts_of(length: usize, cuts: &[prop::sample::Index]) -> Vec<usize> {
    let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(length + 1)).collect();
    cuts.sort_unstable();
    cuts
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn bodies_arrive_whole_and_in_order_whatever_the_order_of_calls(
        steps in prop::collection::vec(step(), 1..200),
        streams in 1_u32..20,
        extra in 0_usize..2_000_000,
        max_queue in 10_000_usize..100_000,
    ) {
        let max_receive = streams as usize * INITIAL_WINDOW as usize + extra;
        let config = Config { max_streams: streams, max_receive, max_queue, ..Config::default() };
        let mut world = World::new(&config);
        // Only then does the client know how many streams it may open.
        world.server.write(usize::MAX);
        world.carry(false, usize::MAX);
        for step in &steps {
            world.step(step);
        }
        world.finish();
    }

    #[test]
    fn any_cut_of_the_octets_gives_the_same_events(
        lengths in prop::collection::vec(prop_oneof![0_usize..100, 0_usize..40_000], 1..12),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..40),
    ) {
        let input = conversation(&lengths);
        let cuts = cuts_of(input.len(), &cuts);
        prop_assert_eq!(served(&input, &cuts), served(&input, &[]));
    }

    #[test]
    fn damaged_octets_are_refused_alike_however_they_are_cut(
        lengths in prop::collection::vec(0_usize..200, 1..6),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..20),
    ) {
        let mut input = conversation(&lengths);
        for (at, octet) in damage {
            let at = at.index(input.len());
            input[at] = octet;
        }
        let cuts = cuts_of(input.len(), &cuts);
        prop_assert_eq!(served(&input, &cuts), served(&input, &[]));
    }

    #[test]
    fn arbitrary_octets_never_panic(
        input in prop::collection::vec(any::<u8>(), 0..500),
        is_client: bool,
    ) {
        let now = Instant::now();
        let role = if is_client { Role::Client } else { Role::Server };
        let mut connection = Connection::new(role, Config::default(), now);
        let _ = connection.receive(&mut BytesMut::from(&crate::support::frame(0, 0, 0, &[])[..]), now);
        let _ = connection.receive(&mut BytesMut::from(&input[..]), now);
    }
}
