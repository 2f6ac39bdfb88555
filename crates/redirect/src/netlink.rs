//! Messages of netlink (RFC 3549): written into a buffer, read from one, and a socket for both.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{
    AddressFamily, Protocol, RecvFlags, SendFlags, SocketFlags, SocketType, bind, recv, send, socket_with,
    sockopt,
};

/// The message is a request.
pub const REQUEST: u16 = 1;
/// It is to be answered even if all went well.
pub const ACK: u16 = 4;
/// All of a kind are asked for.
pub const DUMP: u16 = 0x300;
/// What exists is left as it is, and is an error.
pub const EXCLUSIVE: u16 = 0x200;
/// What exists is replaced.
pub const REPLACE: u16 = 0x100;
/// It is made where it does not exist.
pub const CREATE: u16 = 0x400;
/// It comes after others of its kind.
pub const APPEND: u16 = 0x800;

const ERROR: u16 = 2;
const DONE: u16 = 3;
const HEADER: usize = 16;
const NESTED: u16 = 0x8000;
/// Time for the kernel to answer; it does at once, or never.
const PATIENCE: Duration = Duration::from_secs(5);
/// What a socket takes at once in every kernel.
const USUAL: usize = 64 * 1024;
/// Longer than any answer of the kernel, which gives at most a page, or 32 KiB of a dump, at a time.
const LARGEST: usize = 64 * 1024;

/// Writes messages one after the other.
#[derive(Debug, Default)]
pub struct Writer {
    bytes: Vec<u8>,
    message: usize,
}

impl Writer {
    /// Begins a message; `fixed` is what comes before its attributes.
    pub fn message(&mut self, kind: u16, flags: u16, sequence: u32, fixed: &[u8]) {
        self.message = self.bytes.len();
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes.extend_from_slice(&flags.to_ne_bytes());
        self.bytes.extend_from_slice(&sequence.to_ne_bytes());
        self.bytes.extend_from_slice(&0u32.to_ne_bytes());
        self.bytes.extend_from_slice(fixed);
        self.end();
    }

    fn end(&mut self) {
        while !self.bytes.len().is_multiple_of(4) {
            self.bytes.push(0);
        }
        let length = (self.bytes.len() - self.message) as u32;
        if let Some(field) = self.bytes.get_mut(self.message..self.message + 4) {
            field.copy_from_slice(&length.to_ne_bytes());
        }
    }

    fn begin(&mut self, kind: u16) -> usize {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(&0u16.to_ne_bytes());
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        start
    }

    /// The length of an attribute is that of its content, without what fills the last four bytes.
    fn finish(&mut self, start: usize) {
        let length = (self.bytes.len() - start) as u16;
        if let Some(field) = self.bytes.get_mut(start..start + 2) {
            field.copy_from_slice(&length.to_ne_bytes());
        }
        self.end();
    }

    /// An attribute.
    pub fn attribute(&mut self, kind: u16, value: &[u8]) {
        let start = self.begin(kind);
        self.bytes.extend_from_slice(value);
        self.finish(start);
    }

    /// A text that ends with a zero.
    pub fn text(&mut self, kind: u16, value: &str) {
        let start = self.begin(kind);
        self.bytes.extend_from_slice(value.as_bytes());
        self.bytes.push(0);
        self.finish(start);
    }

    /// A number in network order, as all of `nf_tables`' are.
    pub fn number(&mut self, kind: u16, value: u32) {
        self.attribute(kind, &value.to_be_bytes());
    }

    /// An attribute that holds others.
    pub fn nested(&mut self, kind: u16, inside: impl FnOnce(&mut Self)) {
        let start = self.begin(kind | NESTED);
        inside(self);
        self.finish(start);
    }

    /// All messages.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// A message that was read.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Its type.
    pub kind: u16,
    /// The number of the message that it answers.
    pub sequence: u32,
    /// What comes after the header.
    pub body: &'a [u8],
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_ne_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?))
}

/// The messages in what was received; ends at the first that is cut off.
pub fn messages(mut bytes: &[u8]) -> impl Iterator<Item = Message<'_>> {
    std::iter::from_fn(move || {
        let length = u32_at(bytes, 0)? as usize;
        let message = Message {
            kind: u16_at(bytes, 4)?,
            sequence: u32_at(bytes, 8)?,
            body: bytes.get(HEADER..length)?,
        };
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    })
}

/// The attributes in a body, by their types; ends at the first that is cut off.
pub fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    std::iter::from_fn(move || {
        let length = usize::from(u16_at(bytes, 0)?);
        let attribute = (u16_at(bytes, 2)? & !NESTED, bytes.get(4..length)?);
        bytes = bytes.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(attribute)
    })
}

/// The first attribute of a type.
pub fn attribute(bytes: &[u8], kind: u16) -> Option<&[u8]> {
    attributes(bytes).find_map(|(found, value)| (found == kind).then_some(value))
}

/// A number in network order.
pub fn number(bytes: &[u8], kind: u16) -> Option<u32> {
    Some(u32::from_be_bytes(attribute(bytes, kind)?.try_into().ok()?))
}

/// A socket to the kernel of the network namespace in which it was made.
#[derive(Debug)]
pub struct Socket(OwnedFd);

impl Socket {
    /// Opens one; no protocol means the one of routes.
    pub fn open(protocol: Option<Protocol>) -> io::Result<Self> {
        let socket = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, protocol)?;
        bind(&socket, &SocketAddrNetlink::new(0, 0))?;
        sockopt::set_socket_timeout(&socket, sockopt::Timeout::Recv, Some(PATIENCE))?;
        Ok(Self(socket))
    }

    fn receive<'a>(&self, buffer: &'a mut Vec<u8>) -> io::Result<&'a [u8]> {
        buffer.resize(LARGEST, 0);
        loop {
            match recv(&self.0, buffer.as_mut_slice(), RecvFlags::empty()) {
                Ok((length, _)) => return Ok(buffer.get(..length).unwrap_or_default()),
                Err(rustix::io::Errno::INTR) => {}
                Err(rustix::io::Errno::AGAIN) => {
                    return Err(io::Error::new(io::ErrorKind::TimedOut, "the kernel does not answer"));
                }
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Sends messages of which the one numbered `last` asks for an answer. An error comes with the number of the message
    /// that it is for.
    pub fn request(&self, bytes: &[u8], last: u32) -> Result<(), (u32, io::Error)> {
        if bytes.len() > USUAL {
            // Whoever may change rules may go past the usual limit, too; if not, sending says so.
            let _ = sockopt::set_socket_send_buffer_size_force(&self.0, bytes.len() * 2);
        }
        send(&self.0, bytes, SendFlags::empty()).map_err(|error| (last, error.into()))?;
        let mut buffer = Vec::new();
        loop {
            let received = self.receive(&mut buffer).map_err(|error| (last, error))?;
            for message in messages(received).filter(|message| message.kind == ERROR) {
                match error_of(message.body) {
                    Some(error) => return Err((message.sequence, error)),
                    None if message.sequence == last => return Ok(()),
                    None => {}
                }
            }
        }
    }

    /// Sends one message that asks for all of something, and gives the bodies of the answers.
    pub fn dump(&self, bytes: &[u8]) -> io::Result<Vec<Vec<u8>>> {
        send(&self.0, bytes, SendFlags::empty())?;
        let (mut buffer, mut bodies) = (Vec::new(), Vec::new());
        loop {
            for message in messages(self.receive(&mut buffer)?) {
                match message.kind {
                    DONE => return Ok(bodies),
                    ERROR => {
                        return error_of(message.body).map_or(Ok(bodies), Err);
                    }
                    _ => bodies.push(message.body.to_vec()),
                }
            }
        }
    }
}

fn error_of(body: &[u8]) -> Option<io::Error> {
    let code = u32_at(body, 0)?.cast_signed();
    (code != 0).then(|| io::Error::from_raw_os_error(code.wrapping_neg()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_can_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for message in messages(&bytes) {
                let _ = attributes(message.body).count();
            }
            let _ = attributes(&bytes).count();
        }

        #[test]
        fn what_is_written_can_be_read(values in proptest::collection::vec((0u16..100, ".{0,20}"), 0..8)) {
            let mut writer = Writer::default();
            writer.message(7, REQUEST, 42, &[1, 2, 3, 4]);
            for (kind, value) in &values {
                writer.attribute(*kind, value.as_bytes());
            }
            writer.message(8, REQUEST, 43, &[]);
            let bytes = writer.into_bytes();
            let read: Vec<Message<'_>> = messages(&bytes).collect();
            prop_assert_eq!((read[0].kind, read[0].sequence, read[1].kind), (7, 42, 8));
            let found: Vec<_> = attributes(&read[0].body[4..]).collect();
            let written: Vec<_> = values.iter().map(|(kind, value)| (*kind, value.as_bytes())).collect();
            prop_assert_eq!(found, written);
        }
    }
}
