//! The PROXY protocol, versions 1 and 2: what a load balancer that passes bytes on says of who connected to it, before
//! the first of those bytes (<https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt>).

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use ipnet::IpNet;

use crate::Error;
use crate::authorization::rule::parse_block;

/// What version 2 begins with (section 2.2).
const SIGNATURE: [u8; 12] = *b"\r\n\r\n\0\r\nQUIT\n";
/// What version 1 begins with (section 2.1).
const WORD: &[u8] = b"PROXY ";
/// The longest line of version 1, with its end (section 2.1).
const LINE_MAX: usize = 107;
/// The longest header that is taken. Addresses take 36 octets; what else version 2 may carry, such as certificates, is
/// skipped, and rarely comes to a thousand.
pub const HEADER_MAX: usize = 4096;

/// The two forms of the header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// One line of text.
    V1,
    /// Binary.
    V2,
}

/// Who is believed to say where its connections come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Senders(Box<[IpNet]>);

impl Senders {
    /// Those in any of these blocks, such as `10.0.0.0/8`, or at these addresses.
    pub fn new(blocks: &[String]) -> Result<Self, Error> {
        blocks.iter().map(|block| parse_block(block)).collect::<Result<_, _>>().map(Self)
    }

    /// Whether somebody at this address is.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.iter().any(|block| block.contains(&address))
    }
}

/// Both ends of a connection as the sender of the header saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// Who connected.
    pub source: SocketAddr,
    /// Where to.
    pub destination: SocketAddr,
}

/// What the first bytes of a connection are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Parsed {
    /// The beginning of a header, maybe.
    NeedMore,
    /// A whole header.
    Header {
        /// What it says; `None` where it says nothing: a connection of the sender's own, such as a health check, or one
        /// of another kind than TCP.
        addresses: Option<Addresses>,
        /// Its length; what follows is the connection's.
        length: usize,
    },
    /// No header, and why.
    Invalid(&'static str),
}

/// Reads a header from the first bytes of a connection. Never looks at more than [`HEADER_MAX`] octets.
pub fn parse(bytes: &[u8]) -> Parsed {
    if agrees(bytes, &SIGNATURE) && !bytes.is_empty() {
        return parse_v2(bytes);
    }
    if agrees(bytes, WORD) {
        return parse_v1(bytes);
    }
    Parsed::Invalid("it begins like neither version of the PROXY protocol")
}

/// Whether one begins with the other.
fn agrees(bytes: &[u8], expected: &[u8]) -> bool {
    bytes.iter().zip(expected).all(|(byte, expected)| byte == expected)
}

fn parse_v1(bytes: &[u8]) -> Parsed {
    let line = bytes.get(..LINE_MAX).unwrap_or(bytes);
    let Some(end) = line.windows(2).position(|pair| pair == b"\r\n") else {
        return if bytes.len() < LINE_MAX {
            Parsed::NeedMore
        } else {
            Parsed::Invalid("a line of version 1 has at most 107 octets")
        };
    };
    let length = end + 2;
    let text = line.get(WORD.len()..end).and_then(|text| std::str::from_utf8(text).ok());
    let mut words = text.unwrap_or_default().split(' ');
    let is_v6 = match words.next() {
        Some("TCP4") => false,
        Some("TCP6") => true,
        // Whatever follows is to be ignored.
        Some("UNKNOWN") => return Parsed::Header { addresses: None, length },
        _ => return Parsed::Invalid("version 1 knows TCP4, TCP6 and UNKNOWN"),
    };
    let mut address = || words.next()?.parse::<IpAddr>().ok().filter(|ip| ip.is_ipv6() == is_v6);
    let (source, destination) = (address(), address());
    let mut port = || {
        let digits = words.next().filter(|word| word.bytes().all(|byte| byte.is_ascii_digit()))?;
        digits.parse::<u16>().ok()
    };
    let (source_port, destination_port) = (port(), port());
    let (source, destination) = (source.zip(source_port), destination.zip(destination_port));
    match (source, destination, words.next()) {
        (Some(source), Some(destination), None) => {
            let addresses = Addresses { source: canonical(source), destination: canonical(destination) };
            Parsed::Header { addresses: Some(addresses), length }
        }
        _ => Parsed::Invalid("version 1 has two addresses of its family, then two ports"),
    }
}

fn parse_v2(bytes: &[u8]) -> Parsed {
    let Some((head, rest)) = bytes.split_first_chunk::<16>() else { return Parsed::NeedMore };
    let [.., command, family, length_high, length_low] = *head;
    let length = usize::from(u16::from_be_bytes([length_high, length_low]));
    if command >> 4 != 2 {
        return Parsed::Invalid("after the signature of version 2 comes another version");
    }
    if head.len() + length > HEADER_MAX {
        return Parsed::Invalid("it is longer than 4096 octets");
    }
    let is_local = match command & 0xf {
        0 => true,
        1 => false,
        _ => return Parsed::Invalid("version 2 knows the commands LOCAL and PROXY"),
    };
    let Some(body) = rest.get(..length) else { return Parsed::NeedMore };
    // The high half is the family of addresses, the low one the transport.
    let addresses = match family {
        _ if is_local => Some(None),
        0x11 => body.first_chunk().map(|addresses: &[u8; 12]| Some(v4(addresses))),
        0x21 => body.first_chunk().map(|addresses: &[u8; 36]| Some(v6(addresses))),
        _ if family >> 4 <= 3 && family & 0xf <= 2 => Some(None),
        _ => return Parsed::Invalid("the family or the transport is not one of version 2"),
    };
    match addresses {
        Some(addresses) => Parsed::Header { addresses, length: head.len() + length },
        None => Parsed::Invalid("it is too short for the addresses that it announces"),
    }
}

fn v4(octets: &[u8; 12]) -> Addresses {
    let (ips, _) = octets.as_chunks::<4>();
    let ip = |at: usize| IpAddr::from(ips.get(at).copied().unwrap_or_default());
    let port = |at: usize| octets.as_chunks().0.get(4 + at).map_or(0, |port| u16::from_be_bytes(*port));
    Addresses { source: (ip(0), port(0)).into(), destination: (ip(1), port(1)).into() }
}

fn v6(octets: &[u8; 36]) -> Addresses {
    let (ips, _) = octets.as_chunks::<16>();
    let ip = |at: usize| IpAddr::from(ips.get(at).copied().unwrap_or_default());
    let port = |at: usize| octets.as_chunks().0.get(16 + at).map_or(0, |port| u16::from_be_bytes(*port));
    Addresses { source: canonical((ip(0), port(0))), destination: canonical((ip(1), port(1))) }
}

/// An IPv4 address in the form of IPv6 as the IPv4 address that it is: policies are written of those.
fn canonical((ip, port): (IpAddr, u16)) -> SocketAddr {
    SocketAddr::new(ip.to_canonical(), port)
}

/// Writes a header. Where the ends are of different families, IPv4 takes the form of IPv6.
pub fn encode(version: Version, addresses: Addresses, out: &mut Vec<u8>) {
    let Addresses { source, destination } = addresses;
    let ports = (source.port(), destination.port());
    match (version, source.ip(), destination.ip()) {
        (Version::V1, IpAddr::V4(from), IpAddr::V4(to)) => {
            out.extend_from_slice(format!("PROXY TCP4 {from} {to} {} {}\r\n", ports.0, ports.1).as_bytes());
        }
        (Version::V1, from, to) => {
            let (from, to) = (as_v6(from), as_v6(to));
            out.extend_from_slice(format!("PROXY TCP6 {from} {to} {} {}\r\n", ports.0, ports.1).as_bytes());
        }
        (Version::V2, IpAddr::V4(from), IpAddr::V4(to)) => {
            begin_v2(0x11, 12, out);
            out.extend_from_slice(&from.octets());
            out.extend_from_slice(&to.octets());
        }
        (Version::V2, from, to) => {
            begin_v2(0x21, 36, out);
            out.extend_from_slice(&as_v6(from).octets());
            out.extend_from_slice(&as_v6(to).octets());
        }
    }
    if version == Version::V2 {
        out.extend_from_slice(&ports.0.to_be_bytes());
        out.extend_from_slice(&ports.1.to_be_bytes());
    }
}

fn begin_v2(family: u8, length: u16, out: &mut Vec<u8>) {
    out.extend_from_slice(&SIGNATURE);
    out.extend_from_slice(&[0x21, family]);
    out.extend_from_slice(&length.to_be_bytes());
}

fn as_v6(ip: IpAddr) -> Ipv6Addr {
    match ip {
        IpAddr::V4(ip) => ip.to_ipv6_mapped(),
        IpAddr::V6(ip) => ip,
    }
}

#[cfg(test)]
mod tests;
