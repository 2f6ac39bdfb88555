//! Floods end, and what servers see all day does not.

use std::cell::Cell;
use std::time::Duration;

use super::*;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

fn watched() -> Frames {
    let mut frames = Frames::default();
    frames.read(PRI, Instant::now).unwrap();
    frames.read(&frame(kind::SETTINGS, 0, 0, &[]), Instant::now).unwrap();
    frames
}

const PRI: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// What goes on of octets that come in pieces of `size`, or what is wrong with them.
fn passed(bytes: &[u8], size: usize) -> Result<Vec<u8>, Violation> {
    let (mut frames, mut held, mut on) = (Frames::default(), Vec::new(), Vec::new());
    for piece in bytes.chunks(size) {
        held.extend_from_slice(piece);
        loop {
            let taken = frames.read(&held, Instant::now)?;
            on.extend(held.drain(..taken.good));
            if taken.trailers == 0 {
                break;
            }
            on.extend(Frames::trailers(&held[..taken.trailers])?);
            held.drain(..taken.trailers);
        }
    }
    assert!(held.is_empty(), "{held:x?} stay behind");
    Ok(on)
}

#[test]
fn trailers_alone_get_a_field_in_front_however_the_octets_are_cut() {
    let head = frame(kind::HEADERS, END_HEADERS, 1, &[0x83]);
    let before = [PRI, &frame(kind::SETTINGS, 0, 0, &[]), &head, &frame(kind::DATA, 0, 1, b"hello")].concat();
    let after = [frame(kind::HEADERS, END_HEADERS, 3, &[0x83]), frame(kind::PING, 0, 0, &[0; 8])].concat();
    let trailers = |payload: &[u8]| frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, payload);
    let sent = [&before, &trailers(&[0x84])[..], &after].concat();
    let expected = [&before, &trailers(&[0xa6, 0x84])[..], &after].concat();
    for size in 1..=sent.len() {
        assert_eq!(passed(&sent, size).as_deref(), Ok(&expected[..]), "in pieces of {size}");
    }
    let large = [before, trailers(&[0; MAX_TRAILERS + 1])].concat();
    assert_eq!(passed(&large, usize::MAX), Err(Violation::Trailers));
    assert_eq!(passed(&large[..large.len() - 1], 1000), Err(Violation::Trailers));
}

#[test]
fn a_client_that_pings_keeps_its_streams_but_for_those_that_it_opens_no_window_for() {
    let settings = |window: u32| [&[0, 3, 0, 0, 0, 9, 0, 4][..], &window.to_be_bytes()].concat();
    for (window, updates, sent, kept) in [
        (65_535, vec![], 0, true),
        (0, vec![], 0, false),
        (10, vec![], 10, false),
        (10, vec![(1, 1)], 10, true),
        (65_535, vec![(1, 100)], 65_535, false),
        (65_535, vec![(1, 100), (0, 100)], 65_535, true),
    ] {
        let mut frames = watched();
        frames.read(&frame(kind::SETTINGS, 0, 0, &settings(window)), Instant::now).unwrap();
        frames.read(&frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &[0x82]), Instant::now).unwrap();
        for piece in vec![0; sent].chunks(16_384) {
            frames.wrote(&frame(kind::DATA, 0, 1, piece), Instant::now, |_| {});
        }
        for (stream, by) in updates {
            let update = frame(kind::WINDOW_UPDATE, 0, stream, &u32::to_be_bytes(by));
            frames.read(&update, Instant::now).unwrap();
        }
        for _ in 0..20 {
            let taken = frames.read(&frame(kind::PING, 0, 0, &[0; 8]), Instant::now).unwrap();
            assert!(taken.pinged);
            frames.look(5);
        }
        assert_eq!(frames.open() == 1, kept, "{window} {sent}");
        // An answer is none: whoever sends it was asked.
        assert!(!frames.read(&frame(kind::PING, ACK, 0, &[0; 8]), Instant::now).unwrap().pinged);
    }
}

#[test]
fn nothing_comes_before_the_settings_of_a_client() {
    for first in [
        frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &[0x82]),
        frame(kind::SETTINGS, ACK, 0, &[]),
        frame(kind::PING, 0, 0, &[0; 8]),
        frame(99, 0, 0, &[]),
    ] {
        assert_eq!(passed(&[PRI, &first].concat(), 7), Err(Violation::Http2Connection), "{first:x?}");
    }
}

/// After how many of these frames a connection ends, within ten thousand.
fn flood(mut next: impl FnMut(u32) -> Vec<u8>) -> Option<(u32, Violation)> {
    let (mut frames, now) = (watched(), Instant::now());
    (0..20_000)
        .find_map(|number| frames.read(&next(number), || now).err().map(|violation| (number, violation)))
}

#[test]
fn every_flood_ends_the_connection() {
    let ping = frame(kind::PING, 0, 0, &[0; 8]);
    assert_eq!(flood(|_| ping.clone()), Some((1000, Violation::PingFlood)));
    let settings = frame(kind::SETTINGS, 0, 0, &[]);
    assert_eq!(flood(|_| settings.clone()), Some((100, Violation::SettingsFlood)));
    let empty = frame(kind::DATA, 0, 1, &[]);
    assert_eq!(flood(|_| empty.clone()), Some((100, Violation::EmptyFrameFlood)));
    let padding = frame(kind::DATA, PADDED, 1, &[3, 0, 0, 0]);
    assert_eq!(flood(|_| padding.clone()), Some((100, Violation::EmptyFrameFlood)));
    let window = frame(8, 0, 0, &[0, 0, 0, 1]);
    assert_eq!(flood(|_| window.clone()), Some((10_000, Violation::FrameFlood)));
    let unknown = frame(99, 0, 0, &[]);
    assert_eq!(flood(|_| unknown.clone()), Some((10_000, Violation::FrameFlood)));
    let continuation = frame(kind::CONTINUATION, 0, 1, &[]);
    assert_eq!(flood(|_| continuation.clone()).unwrap().1, Violation::ContinuationFlood);
    let rapid = |number: u32| {
        let stream = number * 2 + 1;
        let mut both = frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &[0x82]);
        both.extend(frame(kind::RST_STREAM, 0, stream, &[0, 0, 0, 8]));
        both
    };
    assert_eq!(flood(rapid), Some((200, Violation::RapidReset)));
}

#[test]
fn asking_once_in_a_while_is_allowed_for_ever() {
    let (mut frames, start) = (watched(), Instant::now());
    let ping = frame(kind::PING, 0, 0, &[0; 8]);
    for second in 0..100_000 {
        frames.read(&ping, || start + Duration::from_secs(second)).unwrap();
    }
}

#[test]
fn what_is_asked_for_data_is_paid_for_by_data() {
    let (mut frames, now) = (watched(), Instant::now());
    for number in 0..50_000_u32 {
        let stream = number * 2 + 1;
        frames.read(&frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &[0x82]), || now).unwrap();
        frames.wrote(&frame(kind::HEADERS, END_HEADERS, stream, &[0x88]), || now, |_| {});
        frames.wrote(&frame(kind::DATA, END_STREAM, stream, b"hello"), || now, |_| {});
        frames.read(&frame(kind::PING, 0, 0, &[0; 8]), || now).unwrap();
        frames.read(&frame(8, 0, 0, &[0, 0, 0, 5]), || now).unwrap();
        frames.read(&frame(8, 0, stream, &[0, 0, 0, 5]), || now).unwrap();
        assert_eq!(frames.open(), 0);
    }
}

#[test]
fn a_stream_that_is_cancelled_once_its_answer_has_begun_is_none_that_was_had_for_nothing() {
    let (mut frames, now) = (watched(), Instant::now());
    for number in 0..50_000_u32 {
        let stream = number * 2 + 1;
        frames.read(&frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &[0x82]), || now).unwrap();
        frames.wrote(&frame(kind::HEADERS, END_HEADERS, stream, &[0x88]), || now, |_| {});
        frames.wrote(&frame(kind::DATA, 0, stream, b"first"), || now, |_| {});
        frames.read(&frame(kind::RST_STREAM, 0, stream, &[0, 0, 0, 8]), || now).unwrap();
        assert_eq!(frames.open(), 0);
    }
}

#[test]
fn streams_that_the_library_is_made_to_reset_end_the_connection_when_there_are_too_many() {
    let (mut frames, start) = (watched(), Instant::now());
    let reset = |stream: u32| frame(kind::RST_STREAM, 0, stream, &[0, 0, 0, 5]);
    // At a pace at which honest clients come to them, for ever.
    for second in 0..10_000 {
        for _ in 0..100 {
            frames.wrote(&reset(1), || start + Duration::from_secs(second), |_| {});
        }
        frames.read(&frame(kind::HEADERS, END_HEADERS | END_STREAM, 1, &[0x82]), || start).unwrap();
    }
    for _ in 0..1001 {
        frames.wrote(&reset(1), || start + Duration::from_secs(10_000), |_| {});
    }
    let next = frames.read(&frame(kind::HEADERS, END_HEADERS | END_STREAM, 3, &[0x82]), || start);
    assert_eq!(next, Err(Violation::RapidReset));
}

#[test]
fn what_the_library_finds_wrong_is_told() {
    let (mut frames, told) = (watched(), Cell::new(None));
    let mut told_of = |bytes: Vec<u8>| {
        // In any pieces.
        for byte in bytes {
            frames.wrote(&[byte], Instant::now, |violation| told.set(Some(violation)));
        }
        told.take()
    };
    let goaway = |code: u8, words: &[u8]| {
        frame(kind::GOAWAY, 0, 0, &[&[0, 0, 0, 1, 0, 0, 0, code][..], words].concat())
    };
    assert_eq!(told_of(goaway(0, b"")), None);
    assert_eq!(told_of(goaway(1, b"")), Some(Violation::Http2Connection));
    assert_eq!(told_of(goaway(11, b"too_many_resets")), Some(Violation::RapidReset));
    assert_eq!(told_of(frame(kind::RST_STREAM, 0, 1, &[0, 0, 0, 1])), Some(Violation::Http2Stream));
    assert_eq!(told_of(frame(kind::RST_STREAM, 0, 1, &[0, 0, 0, 7])), Some(Violation::Http2Refused));
    assert_eq!(told_of(frame(kind::RST_STREAM, 0, 1, &[0, 0, 0, 8])), None);
}

#[test]
fn streams_on_which_nothing_moves_are_found_and_others_are_not() {
    let mut frames = watched();
    for stream in [1, 3] {
        frames.read(&frame(kind::HEADERS, END_HEADERS, stream, &[0x82]), Instant::now).unwrap();
    }
    for _ in 0..5 {
        assert!(frames.look(5).is_empty());
        // A frame that comes octet by octet moves, too.
        frames.read(&frame(kind::DATA, 0, 3, b"xy")[..10], Instant::now).unwrap();
        frames.read(&frame(kind::DATA, 0, 3, b"xy")[10..], Instant::now).unwrap();
    }
    assert_eq!(frames.look(5), [1]);
    assert_eq!(frames.open(), 1);
    assert!(frames.is_between_reads() && frames.is_between_writes());
}

#[test]
fn what_a_proxys_clients_do_has_reading_paused_and_ends_nothing() {
    let (mut frames, now) = (Frames::of_proxy(), Instant::now());
    frames.read(PRI, || now).unwrap();
    frames.read(&frame(kind::SETTINGS, 0, 0, &[]), || now).unwrap();
    for number in 0..MAX_RESETS_OF_PROXY {
        let stream = number * 2 + 1;
        frames.read(&frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &[0x82]), || now).unwrap();
        frames.read(&frame(kind::RST_STREAM, 0, stream, &[0, 0, 0, 8]), || now).unwrap();
        assert_eq!(frames.take_pause(), None);
    }
    let stream = MAX_RESETS_OF_PROXY * 2 + 1;
    frames.read(&frame(kind::HEADERS, END_HEADERS | END_STREAM, stream, &[0x82]), || now).unwrap();
    frames.read(&frame(kind::RST_STREAM, 0, stream, &[0, 0, 0, 8]), || now).unwrap();
    assert_eq!(frames.take_pause(), Some(Violation::RapidReset));
    assert_eq!(frames.take_pause(), None, "once");
    for _ in 0..=MAX_RESETS_OF_PROXY {
        frames.wrote(&frame(kind::RST_STREAM, 0, 1, &[0, 0, 0, 5]), || now, |_| {});
    }
    assert_eq!(frames.take_pause(), Some(Violation::RapidReset));
    for _ in 0..=MAX_RESETS_OF_PROXY {
        frames.read(&frame(kind::DATA, 0, 1, &[]), || now).unwrap();
    }
    assert_eq!(frames.take_pause(), Some(Violation::EmptyFrameFlood));
    // What the proxy alone can do is its own doing.
    let ping = frame(kind::PING, 0, 0, &[0; 8]);
    assert!((0..2000).any(|_| frames.read(&ping, || now).is_err()));
}
