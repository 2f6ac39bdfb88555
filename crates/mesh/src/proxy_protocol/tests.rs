use proptest::prelude::*;

use super::*;

fn address() -> impl Strategy<Value = SocketAddr> {
    let ip = prop_oneof![any::<[u8; 4]>().prop_map(IpAddr::from), any::<[u8; 16]>().prop_map(IpAddr::from)];
    (ip, any::<u16>()).prop_map(canonical)
}

fn version() -> impl Strategy<Value = Version> {
    prop_oneof![Just(Version::V1), Just(Version::V2)]
}

proptest! {
    #[test]
    fn what_was_written_is_read_and_its_beginnings_ask_for_more(
        version in version(),
        source in address(),
        destination in address(),
        rest in prop::collection::vec(any::<u8>(), 0..20),
    ) {
        let addresses = Addresses { source, destination };
        let mut bytes = Vec::new();
        encode(version, addresses, &mut bytes);
        let length = bytes.len();
        for cut in 0..length {
            prop_assert_eq!(parse(&bytes[..cut]), Parsed::NeedMore);
        }
        bytes.extend(rest);
        prop_assert_eq!(parse(&bytes), Parsed::Header { addresses: Some(addresses), length });
    }

    #[test]
    fn more_bytes_never_change_a_decision(
        head in prop_oneof![Just(&b"PROXY "[..]), Just(&b"PROXY TCP4 1.2.3.4 "[..]), Just(&SIGNATURE[..])],
        bytes in prop::collection::vec(prop_oneof![any::<u8>(), Just(b' '), Just(b'1'), Just(0x21)], 0..150),
    ) {
        let bytes = [head, &bytes].concat();
        let whole = parse(&bytes);
        for cut in 0..bytes.len() {
            let early = parse(&bytes[..cut]);
            prop_assert!(early == Parsed::NeedMore || early == whole, "{:?} became {:?}", early, whole);
        }
        if let Parsed::Header { length, .. } = whole {
            prop_assert!(length <= bytes.len());
        }
    }
}

fn addresses(source: &str, destination: &str) -> Addresses {
    Addresses { source: source.parse().unwrap(), destination: destination.parse().unwrap() }
}

/// The addresses in a whole header that is the length of all bytes.
fn whole(bytes: &[u8]) -> Option<Addresses> {
    match parse(bytes) {
        Parsed::Header { addresses, length } if length == bytes.len() => addresses,
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_specifications_examples_are_read() {
    let expected = addresses("192.168.0.1:56324", "192.168.0.11:443");
    assert_eq!(whole(b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"), Some(expected));
    let longest = b"PROXY TCP6 ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
    assert!(whole(longest).is_some());
    assert_eq!(whole(b"PROXY UNKNOWN\r\n"), None);
    let longest = b"PROXY UNKNOWN ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff 65535 65535\r\n";
    assert_eq!((longest.len(), whole(longest)), (LINE_MAX, None));
}

#[test]
fn version_2_may_say_nothing_or_more_than_addresses() {
    let mut bytes = Vec::new();
    encode(Version::V2, addresses("10.0.0.1:1", "10.0.0.2:2"), &mut bytes);
    let ours = whole(&bytes);
    // A checksum, type 3, behind the addresses.
    bytes[15] += 7;
    bytes.extend([3, 0, 4, 1, 2, 3, 4]);
    assert_eq!(whole(&bytes), ours);
    // LOCAL: whatever is there is the balancer's own.
    bytes[12] = 0x20;
    assert_eq!(whole(&bytes), None);
    // UNIX sockets, and UDP, are nothing that arrives here.
    for family in [0x00, 0x12, 0x31] {
        (bytes[12], bytes[13]) = (0x21, family);
        assert_eq!(whole(&bytes), None);
    }
}

#[test]
fn what_is_no_header_is_refused_as_soon_as_that_is_clear() {
    let v2 = |rest: &[u8]| [&SIGNATURE, rest].concat();
    for (bytes, problem) in [
        (&b"GET / HTTP/1.1\r\n"[..], "neither version"),
        (b"P0", "neither version"),
        (b"PROXY TCP5 1.2.3.4 1.2.3.4 1 1\r\n", "TCP4, TCP6 and UNKNOWN"),
        (b"PROXY TCP4 1.2.3.4 ::1 1 1\r\n", "two addresses"),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 65536\r\n", "two ports"),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 +1\r\n", "two ports"),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1\r\n", "two ports"),
        (b"PROXY TCP4 1.2.3.4 1.2.3.4 1 1 \r\n", "two ports"),
        (b"PROXY TCP4 \xff\r\n", "TCP4, TCP6 and UNKNOWN"),
        (&[&b"PROXY UNKNOWN "[..], &[b'a'; 100]].concat(), "107 octets"),
        (&v2(&[0x11, 0x11, 0, 12]), "another version"),
        (&v2(&[0x22, 0x11, 0, 12]), "LOCAL and PROXY"),
        (&v2(&[0x21, 0x11, 0x10, 0]), "4096 octets"),
        (&v2(&[0x21, 0x11, 0, 2, 0, 0]), "too short"),
        (&v2(&[0x21, 0x41, 0, 0]), "family"),
    ] {
        match parse(bytes) {
            Parsed::Invalid(said) => assert!(said.contains(problem), "{said}"),
            other => panic!("{other:?} of {:?}", String::from_utf8_lossy(bytes)),
        }
    }
}

#[test]
fn senders_are_blocks_and_addresses() {
    let senders = Senders::new(&["10.0.0.0/8".to_owned(), "2001:db8::1".to_owned()]).unwrap();
    for (address, is_sender) in
        [("10.1.2.3", true), ("11.1.2.3", false), ("2001:db8::1", true), ("2001:db8::2", false)]
    {
        assert_eq!(senders.contains(address.parse().unwrap()), is_sender, "{address}");
    }
    assert!(!Senders::default().contains("10.1.2.3".parse().unwrap()));
    assert!(Senders::new(&["10.0.0.0/33".to_owned()]).is_err());
}
