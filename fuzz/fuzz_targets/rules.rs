//! What the kernel and `iptables-save` say of rules: no panic.
#![no_main]

use libfuzzer_sys::fuzz_target;
use weft_redirect::iptables::text::shown;
use weft_redirect::list::{List, Span};
use weft_redirect::netlink::{attributes, messages};
use weft_redirect::nft::message::Rule;
use weft_redirect::plan::Family;

fuzz_target!(|input: &[u8]| {
    for message in messages(input) {
        let _ = Rule::decode(message.body);
    }
    assert!(attributes(input).map(|(_, value)| value.len()).sum::<usize>() <= input.len());
    let Ok(text) = std::str::from_utf8(input) else { return };
    for family in [Family::Ipv4, Family::Ipv6] {
        let _ = shown(family, text);
    }
    if let Ok(List(spans)) = text.parse::<List<Span<u16>>>() {
        assert!(spans.iter().all(|span| 0 < span.first && span.first <= span.last));
    }
    let _ = (text.parse::<List<Span<u32>>>(), text.parse::<List<ipnet::IpNet>>());
});
