//! Messages to the kernel's packet filter (`linux/netlink.h`, `linux/netfilter/nfnetlink.h`): a batch is taken as a whole
//! or not at all.

use std::io::{self, Read as _};
use std::time::Duration;

use rustix::io::Errno;
use socket2::{Domain, Protocol, Socket, Type};

const AF_NETLINK: i32 = 16;
const NETLINK_NETFILTER: i32 = 12;
const SUBSYSTEM: u16 = 10;
const BATCH_BEGIN: u16 = 0x10;
const BATCH_END: u16 = 0x11;
const ERROR: u16 = 2;
const DONE: u16 = 3;
const NESTED: u16 = 0x8000;
const HEADER: usize = 16;
/// Time for the kernel to answer, which it does at once.
const PATIENCE: Duration = Duration::from_secs(5);
/// The kernel sends no more at once.
const BUFFER: usize = 64 * 1024;

/// Flags of requests (`linux/netlink.h`).
pub(crate) mod flag {
    pub(crate) const REQUEST: u16 = 1;
    pub(crate) const ACK: u16 = 4;
    pub(crate) const DUMP: u16 = 0x300;
    pub(crate) const CREATE: u16 = 0x400;
    pub(crate) const APPEND: u16 = 0x800;
}

/// Attributes, each with a type.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Attributes(Vec<u8>);

impl Attributes {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    pub(crate) fn bytes(mut self, kind: u16, value: &[u8]) -> Self {
        self.put(kind, value);
        self
    }

    /// A number, as the packet filter has them: the most significant byte first.
    pub(crate) fn number(self, kind: u16, value: u32) -> Self {
        self.bytes(kind, &value.to_be_bytes())
    }

    pub(crate) fn text(mut self, kind: u16, value: &str) -> Self {
        let mut bytes = value.as_bytes().to_vec();
        bytes.push(0);
        self.put(kind, &bytes);
        self
    }

    pub(crate) fn nested(mut self, kind: u16, inner: &Attributes) -> Self {
        self.put(kind | NESTED, &inner.0);
        self
    }

    fn put(&mut self, kind: u16, value: &[u8]) {
        let length = u16::try_from(value.len() + 4).expect("no attribute of ours is that long");
        self.0.extend_from_slice(&length.to_ne_bytes());
        self.0.extend_from_slice(&kind.to_ne_bytes());
        self.0.extend_from_slice(value);
        self.0.resize(self.0.len().next_multiple_of(4), 0);
    }
}

/// The attributes in bytes from the kernel, as far as they are whole.
pub(crate) fn attributes(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    while let (Some(length), Some(kind)) = (number(bytes, 0), number(bytes, 2)) {
        let Some(value) = bytes.get(4..usize::from(length)) else { break };
        found.push((kind & !NESTED, value));
        match bytes.get(usize::from(length).next_multiple_of(4)..) {
            Some(rest) => bytes = rest,
            None => break,
        }
    }
    found
}

fn number(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn long(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// A request to the packet filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Message {
    pub(crate) kind: u16,
    pub(crate) flags: u16,
    pub(crate) family: u8,
    pub(crate) attributes: Attributes,
}

fn write(buffer: &mut Vec<u8>, kind: u16, flags: u16, sequence: u32, family: u8, resource: u16, body: &[u8]) {
    let length = u32::try_from(HEADER + 4 + body.len()).expect("no message of ours is that long");
    buffer.extend_from_slice(&length.to_ne_bytes());
    buffer.extend_from_slice(&kind.to_ne_bytes());
    buffer.extend_from_slice(&flags.to_ne_bytes());
    buffer.extend_from_slice(&sequence.to_ne_bytes());
    buffer.extend_from_slice(&0u32.to_ne_bytes());
    buffer.push(family);
    buffer.push(0);
    buffer.extend_from_slice(&resource.to_be_bytes());
    buffer.extend_from_slice(body);
}

/// A batch as the kernel reads it; messages are numbered from 2 on.
fn encode(messages: &[Message]) -> Vec<u8> {
    let mut buffer = Vec::new();
    write(&mut buffer, BATCH_BEGIN, flag::REQUEST, 1, 0, SUBSYSTEM, &[]);
    let mut sequence = 1;
    for message in messages {
        sequence += 1;
        let kind = SUBSYSTEM << 8 | message.kind;
        let flags = message.flags | flag::REQUEST | flag::ACK;
        write(&mut buffer, kind, flags, sequence, message.family, 0, &message.attributes.0);
    }
    write(&mut buffer, BATCH_END, flag::REQUEST, sequence + 1, 0, SUBSYSTEM, &[]);
    buffer
}

fn open() -> io::Result<Socket> {
    let socket = Socket::new(Domain::from(AF_NETLINK), Type::RAW, Some(Protocol::from(NETLINK_NETFILTER)))?;
    socket.set_read_timeout(Some(PATIENCE))?;
    Ok(socket)
}

/// Sends a batch and waits until the kernel has taken it.
pub(crate) fn commit(messages: &[Message]) -> io::Result<()> {
    let mut socket = open()?;
    socket.send(&encode(messages))?;
    let mut buffer = vec![0; BUFFER];
    let mut waiting = messages.len();
    while waiting > 0 {
        let length = socket.read(&mut buffer)?;
        for (kind, body) in split(buffer.get(..length).unwrap_or_default()) {
            if kind != ERROR {
                continue;
            }
            match long(body, 0).map(u32::cast_signed) {
                Some(0) | None => waiting = waiting.saturating_sub(1),
                Some(code) => return Err(Errno::from_raw_os_error(-code).into()),
            }
        }
    }
    Ok(())
}

/// Asks for everything of a kind; gives the attributes of each answer.
pub(crate) fn dump(message: &Message) -> io::Result<Vec<Vec<u8>>> {
    let mut socket = open()?;
    let mut request = Vec::new();
    let kind = SUBSYSTEM << 8 | message.kind;
    let flags = message.flags | flag::REQUEST | flag::DUMP;
    write(&mut request, kind, flags, 1, message.family, 0, &message.attributes.0);
    socket.send(&request)?;
    let (mut buffer, mut found) = (vec![0; BUFFER], Vec::new());
    loop {
        let length = socket.read(&mut buffer)?;
        for (kind, body) in split(buffer.get(..length).unwrap_or_default()) {
            match kind {
                DONE => return Ok(found),
                ERROR => match long(body, 0).map(u32::cast_signed) {
                    Some(0) | None => return Ok(found),
                    Some(code) => return Err(Errno::from_raw_os_error(-code).into()),
                },
                _ => found.push(body.get(4..).unwrap_or_default().to_vec()),
            }
        }
    }
}

/// The messages in what the kernel sent: each one's kind and what follows its header.
fn split(mut bytes: &[u8]) -> Vec<(u16, &[u8])> {
    let mut found = Vec::new();
    while let (Some(length), Some(kind)) = (long(bytes, 0), number(bytes, 4)) {
        let length = length as usize;
        let Some(body) = bytes.get(HEADER..length) else { break };
        found.push((kind, body));
        match bytes.get(length.next_multiple_of(4)..) {
            Some(rest) => bytes = rest,
            None => break,
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn attributes_are_padded_to_four_bytes_and_read_back() {
        let inner = Attributes::new().number(1, 0x0102_0304);
        let outer = Attributes::new().text(3, "ab").nested(4, &inner);
        assert_eq!(&outer.0[..8], &[7, 0, 3, 0, b'a', b'b', 0, 0]);
        let read = attributes(&outer.0);
        assert_eq!(read[0], (3, &b"ab\0"[..]));
        assert_eq!(attributes(read[1].1), [(1, &[1u8, 2, 3, 4][..])]);
    }

    #[test]
    fn a_batch_begins_and_ends_and_numbers_its_messages() {
        let message = Message {
            kind: 0,
            flags: flag::CREATE,
            family: 1,
            attributes: Attributes::new().text(1, "weft"),
        };
        let bytes = encode(&[message.clone(), message]);
        let kinds: Vec<u16> = split(&bytes).into_iter().map(|(kind, _)| kind).collect();
        assert_eq!(kinds, [BATCH_BEGIN, SUBSYSTEM << 8, SUBSYSTEM << 8, BATCH_END]);
    }

    proptest! {
        #[test]
        fn no_bytes_of_the_kernel_make_it_fail(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            for (_, body) in split(&bytes) {
                for (_, value) in attributes(body) {
                    let _ = attributes(value);
                }
            }
        }
    }
}
