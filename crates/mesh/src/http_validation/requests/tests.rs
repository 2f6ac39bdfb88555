//! Which octets go on, however they are cut.

use proptest::prelude::*;

use super::*;

/// What becomes of octets that come in pieces of `size`: how many go on, and what ends them.
fn fed(bytes: &[u8], size: usize) -> (usize, End) {
    let mut requests = Requests::default();
    let (mut held, mut good) = (Vec::new(), 0);
    for piece in bytes.chunks(size.max(1)) {
        held.extend_from_slice(piece);
        let checked = requests.check(&held);
        good += checked.good;
        held.drain(..checked.good);
        if checked.end != End::More {
            return (good, checked.end);
        }
    }
    (good, End::More)
}

fn all(text: &str) -> (usize, End) {
    fed(text.as_bytes(), usize::MAX)
}

#[test]
fn requests_of_every_framing_go_on_whole() {
    let requests = [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\r\nGET http://a:80/b?c=d HTTP/1.1\r\nhost: [::1]:80\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 5\r\n\r\nhello",
        "POST / HTTP/1.1\r\nhost: a\r\nTransfer-Encoding:  CHUNKED \r\n\r\n5;a=b\r\nhello\r\n0\r\nx: y\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nhost:\r\nx:\t\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET /\u{e4} HTTP/1.1\r\nhost: a\r\n\r\n",
    ];
    let together = requests.concat();
    assert_eq!(all(&together), (together.len(), End::More));
    for size in 1..40 {
        assert_eq!(fed(together.as_bytes(), size), (together.len(), End::More));
    }
}

#[test]
fn a_head_goes_on_only_whole() {
    let head = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    for cut in 0..head.len() {
        assert_eq!(all(&head[..cut]), (0, End::More));
    }
}

#[test]
fn a_target_that_is_to_be_encoded_is_found_behind_what_goes_on() {
    let first = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    let line = "\r\nGET /?a=<b> HTTP/1.1\r\n";
    let text = format!("{first}{line}host: a\r\n\r\n");
    let mut requests = Requests::default();
    let checked = requests.check(text.as_bytes());
    assert_eq!(checked, Checked { good: first.len(), end: End::Encode(6, 13) });
    let rest = text[first.len()..].replace("/?a=<b>", "/?a=%3Cb%3E");
    assert_eq!(requests.check(rest.as_bytes()), Checked { good: rest.len(), end: End::More });
    // It is as long as it is then.
    let long = format!("GET /?{} HTTP/1.1\r\n", "<".repeat(MAX_HEAD / 2));
    let mut requests = Requests::default();
    assert!(matches!(requests.check(long.as_bytes()).end, End::Encode(..)));
    let long = long.replace('<', "%3C");
    assert_eq!(requests.check(long.as_bytes()).end, End::Violation(Violation::TargetTooLong));
}

#[test]
fn what_follows_a_request_for_another_protocol_waits() {
    for head in [
        "CONNECT a:80 HTTP/1.1\r\nhost: a:80\r\n\r\n",
        "GET / HTTP/1.1\r\nhost: a\r\nupgrade: x\r\nconnection: upgrade\r\n\r\n",
        "POST / HTTP/1.1\r\nhost: a\r\nupgrade: x\r\ncontent-length: 6\r\nconnection: upgrade\r\n\r\n\r\n\0\0\r\n",
    ] {
        let text = format!("{head}\0\0");
        let mut requests = Requests::default();
        let checked = requests.check(text.as_bytes());
        assert_eq!(checked, Checked { good: head.len(), end: End::Undecided });
        requests.decided(true);
        assert_eq!(requests.check(b"\0\0"), Checked { good: 2, end: End::More });
        let mut requests = Requests::default();
        requests.check(text.as_bytes());
        requests.decided(false);
        assert_eq!(requests.check(b"\0\0").end, End::Violation(Violation::RequestLine));
    }
}

#[test]
fn a_head_may_have_so_many_octets_and_fields() {
    let head = |octets: usize| {
        let head = "GET / HTTP/1.1\r\nhost: a\r\nx: ";
        format!("{head}{}\r\n\r\n", "y".repeat(octets - head.len() - 4))
    };
    assert_eq!(all(&head(MAX_HEAD)), (MAX_HEAD, End::More));
    assert_eq!(all(&head(MAX_HEAD + 1)).1, End::Violation(Violation::HeadTooLarge));
    let fields =
        |fields: usize| format!("GET / HTTP/1.1\r\nhost: a\r\n{}\r\n", "x: y\r\n".repeat(fields - 1));
    assert_eq!(all(&fields(MAX_FIELDS)).1, End::More);
    assert_eq!(all(&fields(MAX_FIELDS + 1)).1, End::Violation(Violation::HeadTooLarge));
    let target = format!("GET /{} HTTP/1.1\r\nhost: a\r\n\r\n", "y".repeat(MAX_HEAD));
    assert_eq!(all(&target).1, End::Violation(Violation::TargetTooLong));
}

#[test]
fn a_head_that_needs_more_room_than_most_waits_for_it() {
    let few = "GET / HTTP/1.1\r\nhost: a\r\n\r\n";
    let fields = "x: y\r\n".repeat(FEW_FIELDS);
    let many = format!("GET / HTTP/1.1\r\nhost: a\r\n{fields}\r\n");
    // Its trailers may be as many.
    let coded = "POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n";
    for head in [&many, coded] {
        let text = format!("{few}{head}{few}");
        let mut requests = Requests::for_little_room();
        let checked = requests.check(text.as_bytes());
        assert_eq!(checked, Checked { good: few.len(), end: End::Room });
        let rest = &text.as_bytes()[few.len()..];
        assert_eq!(requests.check(rest), Checked { good: 0, end: End::Room });
        requests.give_room();
        assert_eq!(requests.check(rest), Checked { good: rest.len(), end: End::More });
        assert_eq!(requests.take_heads().count(), 3);
        assert_eq!(requests.check(rest).end, End::More, "it stays");
    }
    let wrong = "POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n";
    assert_eq!(Requests::for_little_room().check(wrong.as_bytes()).end, Violation::Framing.into());
}

/// Pieces that requests are made of, and such that break them.
const PIECES: [&str; 30] = [
    "GET ",
    "POST ",
    "CONNECT ",
    "/",
    "*",
    "http://a",
    " HTTP/1.1",
    " HTTP/1.0",
    "\r\n",
    "\r\n\r\n",
    "\n",
    "\r",
    "host: a\r\n",
    "host: b",
    "content-length: 3\r\n",
    "Content-Length: 03\r\n",
    "transfer-encoding: chunked\r\n",
    "transfer-encoding: gzip\r\n",
    "upgrade: x\r\n",
    "3\r\nabc\r\n",
    "0\r\n\r\n",
    "0\r\nx: y\r\n\r\n",
    "5;e=f\r\n",
    "abc",
    " ",
    "\t",
    ":",
    "\0",
    "\u{e4}",
    "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
];

/// Where the names of expectations begin in octets that come in pieces of `size`, and which heads have one.
fn expecting(bytes: &[u8], size: usize) -> (Vec<usize>, Vec<bool>) {
    let mut requests = Requests::default();
    let (mut held, mut gone, mut at, mut heads) = (Vec::new(), 0, Vec::new(), Vec::new());
    for piece in bytes.chunks(size) {
        held.extend_from_slice(piece);
        let checked = requests.check(&held);
        at.extend(requests.expectations().iter().map(|begin| gone + begin));
        heads.extend(requests.take_heads().map(|head| head.expects));
        gone += checked.good;
        held.drain(..checked.good);
    }
    (at, heads)
}

#[test]
fn expectations_are_found_where_they_stand_however_octets_are_cut() {
    let requests = "\r\nPUT / HTTP/1.1\r\nhost: a\r\nExpect: 100-continue\r\ncontent-length: 30\r\n\r\n\r\n\r\nexpect: 100-continue\r\n  \r\n\r\n\
        GET / HTTP/1.1\r\nhost: a\r\nx-expect: expect: b\r\n\r\n\
        PUT / HTTP/1.1\r\nEXPECT:\r\nhost: a\r\nexpect: other\r\ntransfer-encoding: chunked\r\n\r\n0\r\nexpect: c\r\n\r\n";
    let name = |at: &usize| requests[*at..*at + 6].to_owned();
    for size in 1..=requests.len() {
        let (at, heads) = expecting(requests.as_bytes(), size);
        assert_eq!(at.iter().map(name).collect::<Vec<_>>(), ["Expect", "EXPECT", "expect"], "{size}");
        assert_eq!(heads, [true, false, true], "{size}");
    }
}

proptest! {
    #[test]
    fn the_cut_of_octets_changes_nothing(
        pieces in prop::collection::vec(prop::sample::select(&PIECES[..]), 0..24),
        size in 1_usize..50,
    ) {
        let text = pieces.concat();
        let (whole, cut) = (all(&text), fed(text.as_bytes(), size));
        if let End::Violation(_) = whole.1 {
            // How early a violation is seen, and so which, depends on what is there; that it is one does not.
            prop_assert!(matches!(cut.1, End::Violation(_)), "{cut:?} {whole:?}");
        } else {
            prop_assert_eq!(cut, whole);
        }
    }

    #[test]
    fn no_octets_panic_and_none_are_invented(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        prop_assert!(fed(&bytes, usize::MAX).0 <= bytes.len());
    }
}
