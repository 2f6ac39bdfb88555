//! Expressions of `nf_tables` (`linux/netfilter/nf_tables.h`): the steps that a rule is made of.

use crate::netlink::{Writer, attribute, number};

/// The one register that rules here use; it holds 16 bytes.
const REGISTER: u32 = 1;
const VERDICT: u32 = 0;

const EXPR_NAME: u16 = 1;
const EXPR_DATA: u16 = 2;
const DATA_VALUE: u16 = 1;
const DATA_VERDICT: u16 = 2;
const VERDICT_CODE: u16 = 1;

/// What is known of a packet besides its bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Meta {
    /// Its mark, in the machine's order.
    Mark = 3,
    /// The index of the interface that it came from, in the machine's order.
    Arrival = 4,
    /// The index of the interface that it goes to, in the machine's order.
    Departure = 5,
    /// The user of its socket, in the machine's order.
    User = 10,
    /// The group of its socket, in the machine's order.
    Group = 11,
    /// Its family, a byte.
    Family = 15,
    /// What is above IP, a byte.
    Transport = 16,
}

/// What is known of the connection of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Connection {
    /// Bits, in the machine's order.
    State = 0,
    /// A byte: 0 as it was opened, 1 for answers.
    Direction = 1,
    /// Its mark, in the machine's order.
    Mark = 3,
}

/// How a register is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Comparison {
    /// It must be the same.
    Equal = 0,
    /// It must be something else.
    NotEqual = 1,
}

/// One step. What loads goes to the one register, what compares takes it from there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Expression {
    /// Loads what is known of the packet.
    Meta(Meta),
    /// Gives the packet the mark in the register.
    SetMark,
    /// Loads what is known of the connection.
    Connection(Connection),
    /// Gives the connection the mark in the register.
    SetConnectionMark,
    /// Loads the kind of the destination's address, in the machine's order.
    DestinationKind,
    /// Loads bytes of the packet.
    Payload {
        /// Of the header of IP (1) or of what is above (2).
        base: u32,
        /// The first byte.
        offset: u32,
        /// How many.
        length: u32,
    },
    /// Keeps only these bits.
    Mask(Vec<u8>),
    /// Turns four bytes into network order.
    NetworkOrder,
    /// Goes on if the register compares so.
    Compare(Comparison, Vec<u8>),
    /// Goes on if the register is from the one to the other, both included, byte by byte.
    Range(Vec<u8>, Vec<u8>),
    /// Loads a constant.
    Load(Vec<u8>),
    /// Decides: 1 accepts, 0 drops.
    Verdict(u32),
    /// Changes the destination to the port in the register.
    Redirect,
    /// Hands the packet to the transparent socket of the port in the register, of either family.
    Tproxy,
    /// Counts what comes by.
    Counter {
        /// Packets.
        packets: u64,
        /// Their bytes.
        bytes: u64,
    },
}

impl Expression {
    /// The name that the kernel knows it by.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Meta(_) | Self::SetMark => "meta",
            Self::Connection(_) | Self::SetConnectionMark => "ct",
            Self::DestinationKind => "fib",
            Self::Payload { .. } => "payload",
            Self::Mask(_) => "bitwise",
            Self::NetworkOrder => "byteorder",
            Self::Compare(..) => "cmp",
            Self::Range(..) => "range",
            Self::Load(_) | Self::Verdict(_) => "immediate",
            Self::Redirect => "redir",
            Self::Tproxy => "tproxy",
            Self::Counter { .. } => "counter",
        }
    }

    /// The kernel module that has it, where it may be missing.
    pub fn module(&self) -> Option<&'static str> {
        match self {
            Self::Connection(_) | Self::SetConnectionMark => Some("nft_ct"),
            Self::DestinationKind => Some("nft_fib_inet"),
            Self::Redirect => Some("nft_redir"),
            Self::Tproxy => Some("nft_tproxy"),
            _ => None,
        }
    }

    /// Writes it as an item of a rule's list.
    pub fn encode(&self, writer: &mut Writer) {
        writer.text(EXPR_NAME, self.name());
        writer.nested(EXPR_DATA, |writer| self.encode_data(writer));
    }

    fn encode_data(&self, writer: &mut Writer) {
        let numbers = |writer: &mut Writer, numbers: &[(u16, u32)]| {
            for (kind, value) in numbers {
                writer.number(*kind, *value);
            }
        };
        match self {
            Self::Meta(key) => numbers(writer, &[(1, REGISTER), (2, *key as u32)]),
            Self::SetMark => numbers(writer, &[(2, Meta::Mark as u32), (3, REGISTER)]),
            Self::Connection(key) => numbers(writer, &[(1, REGISTER), (2, *key as u32)]),
            Self::SetConnectionMark => numbers(writer, &[(2, Connection::Mark as u32), (4, REGISTER)]),
            // The kind (3) of the destination (2).
            Self::DestinationKind => numbers(writer, &[(1, REGISTER), (2, 3), (3, 2)]),
            Self::Payload { base, offset, length } => {
                numbers(writer, &[(1, REGISTER), (2, *base), (3, *offset), (4, *length)]);
            }
            Self::Mask(mask) => {
                numbers(writer, &[(1, REGISTER), (2, REGISTER), (3, mask.len() as u32)]);
                value(writer, 4, mask);
                value(writer, 5, &vec![0; mask.len()]);
            }
            Self::NetworkOrder => {
                numbers(writer, &[(1, REGISTER), (2, REGISTER), (3, 1), (4, 4), (5, 4)]);
            }
            Self::Compare(comparison, with) => {
                numbers(writer, &[(1, REGISTER), (2, *comparison as u32)]);
                value(writer, 3, with);
            }
            Self::Range(first, last) => {
                numbers(writer, &[(1, REGISTER), (2, 0)]);
                value(writer, 3, first);
                value(writer, 4, last);
            }
            Self::Load(constant) => {
                numbers(writer, &[(1, REGISTER)]);
                value(writer, 2, constant);
            }
            Self::Verdict(code) => {
                numbers(writer, &[(1, VERDICT)]);
                writer.nested(2, |writer| {
                    writer.nested(DATA_VERDICT, |writer| writer.number(VERDICT_CODE, *code));
                });
            }
            Self::Redirect => numbers(writer, &[(1, REGISTER)]),
            Self::Tproxy => numbers(writer, &[(1, 0), (3, REGISTER)]),
            Self::Counter { packets, bytes } => {
                writer.attribute(1, &bytes.to_be_bytes());
                writer.attribute(2, &packets.to_be_bytes());
            }
        }
    }

    /// Reads an item of a rule's list; `None` for what rules here don't have.
    pub fn decode(item: &[u8]) -> Option<Self> {
        let name = attribute(item, EXPR_NAME)?;
        let data = attribute(item, EXPR_DATA)?;
        let taken = |kind| Some(attribute(attribute(data, kind)?, DATA_VALUE)?.to_vec());
        Some(match name.strip_suffix(b"\0").unwrap_or(name) {
            b"meta" if attribute(data, 3).is_some() => Self::SetMark,
            b"meta" => Self::Meta(meta(number(data, 2)?)?),
            b"ct" if attribute(data, 4).is_some() => Self::SetConnectionMark,
            b"ct" => Self::Connection(connection(number(data, 2)?)?),
            b"fib" => Self::DestinationKind,
            b"payload" => {
                Self::Payload { base: number(data, 2)?, offset: number(data, 3)?, length: number(data, 4)? }
            }
            b"bitwise" => Self::Mask(taken(4)?),
            b"byteorder" => Self::NetworkOrder,
            b"cmp" => {
                let equal = number(data, 2)? == Comparison::Equal as u32;
                Self::Compare(if equal { Comparison::Equal } else { Comparison::NotEqual }, taken(3)?)
            }
            b"range" => Self::Range(taken(3)?, taken(4)?),
            b"immediate" if number(data, 1)? == VERDICT => {
                Self::Verdict(number(attribute(attribute(data, 2)?, DATA_VERDICT)?, VERDICT_CODE)?)
            }
            b"immediate" => Self::Load(taken(2)?),
            b"redir" => Self::Redirect,
            b"tproxy" => Self::Tproxy,
            b"counter" => {
                let long = |kind| Some(u64::from_be_bytes(attribute(data, kind)?.try_into().ok()?));
                Self::Counter { packets: long(2)?, bytes: long(1)? }
            }
            _ => return None,
        })
    }
}

fn value(writer: &mut Writer, kind: u16, bytes: &[u8]) {
    writer.nested(kind, |writer| writer.attribute(DATA_VALUE, bytes));
}

fn meta(key: u32) -> Option<Meta> {
    use Meta::{Arrival, Departure, Family, Group, Mark, Transport, User};
    [Mark, Arrival, Departure, User, Group, Family, Transport].into_iter().find(|known| *known as u32 == key)
}

fn connection(key: u32) -> Option<Connection> {
    [Connection::State, Connection::Direction, Connection::Mark]
        .into_iter()
        .find(|known| *known as u32 == key)
}
