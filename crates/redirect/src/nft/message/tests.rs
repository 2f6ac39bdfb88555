//! The bytes of messages.

use proptest::prelude::*;

use super::*;
use crate::list::Span;
use crate::netlink::messages;
use crate::plan::{Action, Match, plan};
use crate::rules::{Inbound, Rules};

/// Messages are in the machine's order in part; what is written down here is of the order that nearly all have.
#[cfg(target_endian = "little")]
#[test]
fn a_rule_is_written_byte_for_byte() {
    let line = Line { words: "ssh".into(), matches: vec![Match::Port(Span::one(22))], action: Action::Leave };
    let chain = Chain { place: Place::InboundNat, lines: vec![line] };
    let batch = Batch::replace(&[chain]);
    let rule = messages(&batch.bytes).nth(5).unwrap();
    assert_eq!((rule.kind, rule.sequence, batch.last), (0x0a06, 5, 5));
    #[rustfmt::skip]
    let expected: &[&[u8]] = &[
        &[1, 0, 0, 0],
        &[9, 0, 1, 0], b"weft\0\0\0\0",
        &[15, 0, 2, 0], b"prerouting\0\0",
        &[0x10, 1, 4, 0x80],
        // meta load l4proto => reg 1
        &[36, 0, 1, 0x80], &[9, 0, 1, 0], b"meta\0\0\0\0", &[20, 0, 2, 0x80],
        &[8, 0, 1, 0, 0, 0, 0, 1], &[8, 0, 2, 0, 0, 0, 0, 16],
        // cmp eq reg 1 6
        &[44, 0, 1, 0x80], &[8, 0, 1, 0], b"cmp\0", &[32, 0, 2, 0x80],
        &[8, 0, 1, 0, 0, 0, 0, 1], &[8, 0, 2, 0, 0, 0, 0, 0], &[12, 0, 3, 0x80, 5, 0, 1, 0, 6, 0, 0, 0],
        // payload load 2b @ transport header + 2 => reg 1
        &[52, 0, 1, 0x80], &[12, 0, 1, 0], b"payload\0", &[36, 0, 2, 0x80],
        &[8, 0, 1, 0, 0, 0, 0, 1], &[8, 0, 2, 0, 0, 0, 0, 2], &[8, 0, 3, 0, 0, 0, 0, 2], &[8, 0, 4, 0, 0, 0, 0, 2],
        // cmp eq reg 1 22
        &[44, 0, 1, 0x80], &[8, 0, 1, 0], b"cmp\0", &[32, 0, 2, 0x80],
        &[8, 0, 1, 0, 0, 0, 0, 1], &[8, 0, 2, 0, 0, 0, 0, 0], &[12, 0, 3, 0x80, 6, 0, 1, 0, 0, 22, 0, 0],
        // counter pkts 0 bytes 0
        &[44, 0, 1, 0x80], &[12, 0, 1, 0], b"counter\0", &[28, 0, 2, 0x80],
        &[12, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0], &[12, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0],
        // immediate reg 0 accept
        &[48, 0, 1, 0x80], &[14, 0, 1, 0], b"immediate\0\0\0", &[28, 0, 2, 0x80],
        &[8, 0, 1, 0, 0, 0, 0, 0], &[16, 0, 2, 0x80, 12, 0, 2, 0x80, 8, 0, 1, 0, 0, 0, 0, 1],
        &[10, 0, 7, 0, 0, 4], b"ssh\0", &[0, 0],
    ];
    assert_eq!(rule.body, expected.concat());
}

#[test]
fn a_transaction_replaces_the_table_and_is_answered_once() {
    let batch = Batch::replace(&plan(&Rules::default()));
    let kinds: Vec<u16> = messages(&batch.bytes).map(|message| message.kind).collect();
    assert_eq!(kinds[..5], [BATCH_BEGIN, 0x0a00, 0x0a02, 0x0a00, 0x0a03]);
    assert_eq!(kinds.last(), Some(&BATCH_END));
    assert_eq!((kinds.len(), batch.last as usize), (batch.steps.len(), kinds.len() - 2));
    let mut bytes = batch.bytes.as_slice();
    for (number, message) in messages(&batch.bytes).enumerate() {
        let flags = u16::from_ne_bytes([bytes[6], bytes[7]]);
        assert_eq!(flags & ACK != 0, number as u32 == batch.last);
        assert_eq!(message.sequence as usize, number);
        bytes = &bytes[16 + message.body.len()..];
    }
}

proptest! {
    #[test]
    fn what_is_written_is_read_again(ports in proptest::collection::vec((1u16..1000, 0u16..9), 0..5), tproxy: bool) {
        let rules = Rules {
            skip_outbound_ports: ports.iter().map(|(first, more)| Span { first: *first, last: first + more }).collect(),
            skip_users: vec![Span { first: 5, last: 700 }],
            skip_outbound_addresses: vec!["10.0.0.0/8".parse().unwrap(), "fd00::1/128".parse().unwrap()],
            inbound: if tproxy { Inbound::Tproxy } else { Inbound::Redirect },
            ..Rules::default()
        };
        let chains = plan(&rules);
        let batch = Batch::replace(&chains);
        let read: Vec<Rule> = messages(&batch.bytes)
            .filter(|message| message.kind == 0x0a06)
            .map(|message| Rule::decode(message.body).unwrap())
            .collect();
        prop_assert_eq!(read, Rule::planned(&chains));
    }

    #[test]
    fn any_bytes_can_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Rule::decode(&bytes);
    }
}
