//! What costs its sender little, without end (docs/hostile-input.md names the CVE of each).

use crate::http2::{
    CONTINUATION, DATA, END_STREAM, HEADERS, PADDED, PING, PRIORITY, RST_STREAM, WHOLE, WINDOW_UPDATE,
    fields, frame, settings,
};

use super::super::case::{Case, Expected};
use super::{GET, case, get, post};

/// More than any proxy needs to see.
const FRAMES: u32 = 50_000;

pub(super) fn cases() -> Vec<Case> {
    let flood = |name, begins: Vec<u8>, again: fn(u32) -> Vec<u8>| {
        case(name, &[begins, (0..FRAMES).flat_map(again).collect()], Expected::Connection)
    };
    let head = || frame(HEADERS, 0, 1, &fields(&GET));
    vec![
        flood("CVE-2023-44487: rapid reset", Vec::new(), |number| {
            let stream = number * 2 + 1;
            [get(stream), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
        }),
        flood("CVE-2025-8671: resets that the proxy is made to send", Vec::new(), |number| {
            let stream = number * 2 + 1;
            [post(stream, 0, &[]), frame(WINDOW_UPDATE, 0, stream, &[0; 4])].concat()
        }),
        flood("CVE-2024-27316: CONTINUATION", head(), |_| frame(CONTINUATION, 0, 1, &fields(&[("x", "y")]))),
        flood("CVE-2024-27316: empty CONTINUATION", head(), |_| frame(CONTINUATION, 0, 1, &[])),
        flood(
            "CVE-2024-27316: CONTINUATION of trailers",
            [post(1, 0, &[]), frame(HEADERS, END_STREAM, 1, &[])].concat(),
            |_| frame(CONTINUATION, 0, 1, &fields(&[("x", "y")])),
        ),
        flood("CVE-2019-9512: PING", Vec::new(), |_| frame(PING, 0, 0, &[0; 8])),
        flood("CVE-2019-9515: SETTINGS", Vec::new(), |_| settings(&[(3, 100)])),
        flood("CVE-2019-9518: empty DATA", post(1, 0, &[]), |_| frame(DATA, 0, 1, &[])),
        flood("CVE-2019-9518: DATA of padding alone", post(1, 0, &[]), |_| {
            frame(DATA, PADDED, 1, &[2, 0, 0])
        }),
        flood("CVE-2019-9511: WINDOW_UPDATE", Vec::new(), |number| {
            frame(WINDOW_UPDATE, 0, 0, &(number % 2 + 1).to_be_bytes())
        }),
        flood("CVE-2019-9513: PRIORITY", Vec::new(), |number| {
            frame(PRIORITY, 0, number * 2 + 1, &[0, 0, 0, 0, 1])
        }),
        flood("10.5: frames of an unknown type", Vec::new(), |_| frame(0xf0, 0, 0, &[])),
        case("RFC 7541 7.3: a head that is small only while it is compressed", &[bomb()], Expected::Refused),
    ]
}

/// A field of 4,000 octets that is put into the dynamic table, and 12,000 times what stands there.
fn bomb() -> Vec<u8> {
    let mut block = fields(&GET);
    let mut field = fields(&[("x-bomb", &"smuggled".repeat(500))]);
    // With incremental indexing.
    field[0] = 0x40;
    block.extend(field);
    block.extend([0xbe; 12_000]);
    frame(HEADERS, WHOLE, 1, &block)
}
