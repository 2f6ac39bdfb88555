//! The routes by which answers to borrowed addresses come back: an address rule for a mark, and a table in which every
//! address is this machine's.

use std::io;

use crate::error::Error;
use crate::netlink::{ACK, CREATE, EXCLUSIVE, REPLACE, REQUEST, Socket, Writer};
use crate::rules::{Families, KEPT_MARK, KEPT_TABLE};

const NEW_ROUTE: u16 = 24;
const DELETE_ROUTE: u16 = 25;
const NEW_RULE: u16 = 32;
const DELETE_RULE: u16 = 33;
const IPV4: u8 = 2;
const IPV6: u8 = 10;
/// The table's number is in an attribute: it does not fit a byte.
const TABLE_ELSEWHERE: u8 = 0;
/// Made by an administrator.
const STATIC: u8 = 4;
const SCOPE_HOST: u8 = 254;
const TYPE_LOCAL: u8 = 2;
const ACTION_TO_TABLE: u8 = 1;
/// The kernel makes loopback first in every network namespace.
const LOOPBACK_INDEX: u32 = 1;
/// Before the rules that every machine has.
const PRIORITY: u32 = 2102;

fn numbers(writer: &mut Writer, numbers: &[(u16, u32)]) {
    for (kind, value) in numbers {
        writer.attribute(*kind, &value.to_ne_bytes());
    }
}

/// Packets with the mark are routed by the table.
fn rule(kind: u16, flags: u16, family: u8) -> Vec<u8> {
    let mut writer = Writer::default();
    let fixed = [family, 0, 0, 0, TABLE_ELSEWHERE, 0, 0, ACTION_TO_TABLE, 0, 0, 0, 0];
    writer.message(kind, REQUEST | ACK | flags, 1, &fixed);
    numbers(&mut writer, &[(6, PRIORITY), (10, KEPT_MARK), (15, KEPT_TABLE), (16, u32::MAX)]);
    writer.into_bytes()
}

/// In the table, every address is this machine's.
fn route(kind: u16, flags: u16, family: u8) -> Vec<u8> {
    let mut writer = Writer::default();
    let fixed = [family, 0, 0, 0, TABLE_ELSEWHERE, STATIC, SCOPE_HOST, TYPE_LOCAL, 0, 0, 0, 0];
    writer.message(kind, REQUEST | ACK | flags, 1, &fixed);
    numbers(&mut writer, &[(4, LOOPBACK_INDEX), (15, KEPT_TABLE)]);
    writer.into_bytes()
}

fn is_absent(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(
        errno,
        Some(
            Errno::NOENT | Errno::SRCH | Errno::AFNOSUPPORT | Errno::OPNOTSUPP | Errno::NODEV | Errno::INVAL
        )
    )
}

/// Whether a family is missing, or switched off: interfaces without IPv6 take no routes of it.
fn is_off(error: &io::Error) -> bool {
    is_absent(error) || error.raw_os_error() == Some(rustix::io::Errno::ACCESS.raw_os_error())
}

/// Adds both for each family; a family that the kernel lacks is left out.
pub fn add(families: Families) -> Result<(), Error> {
    let socket = Socket::open(None).map_err(|error| Error::of("netlink", error))?;
    let wanted: &[u8] = match families {
        Families::Both => &[IPV4, IPV6],
        Families::Ipv4 => &[IPV4],
        Families::Ipv6 => &[IPV6],
    };
    for &family in wanted {
        for message in
            [rule(NEW_RULE, CREATE | EXCLUSIVE, family), route(NEW_ROUTE, CREATE | REPLACE, family)]
        {
            match socket.request(&message, 1) {
                Ok(()) => {}
                Err((_, error)) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err((_, error)) if family == IPV6 && families == Families::Both && is_off(&error) => {}
                Err((_, error)) => {
                    return Err(Error::of(format!("adding routes by the mark {KEPT_MARK:#x}"), error));
                }
            }
        }
    }
    Ok(())
}

/// Takes both away, where they are.
pub fn remove() -> Result<(), Error> {
    let socket = Socket::open(None).map_err(|error| Error::of("netlink", error))?;
    for family in [IPV4, IPV6] {
        for message in [rule(DELETE_RULE, 0, family), route(DELETE_ROUTE, 0, family)] {
            match socket.request(&message, 1) {
                Ok(()) => {}
                Err((_, error)) if is_absent(&error) || (family == IPV6 && is_off(&error)) => {}
                Err((_, error)) => {
                    return Err(Error::of(format!("removing routes by the mark {KEPT_MARK:#x}"), error));
                }
            }
        }
    }
    Ok(())
}
