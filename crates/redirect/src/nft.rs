//! `nf_tables` over netlink, without the program `nft`.
//!
//! All is in one table, `inet weft`, which one transaction replaces: at no moment are there no rules, or half of them.

use std::io;

use rustix::net::netlink::NETFILTER;

pub mod expression;
mod lower;
pub mod message;

use crate::backend::Shown;
use crate::error::Error;
use crate::netlink::Socket;
use crate::plan::Chain;
use expression::Expression;
use message::{Batch, Rule};

/// The table that holds everything.
pub const TABLE: &str = "weft";

fn open() -> Result<Socket, Error> {
    Socket::open(Some(NETFILTER)).map_err(|error| {
        if is_unsupported(&error) { Error::NoNfTables(error) } else { Error::of("netlink", error) }
    })
}

fn is_unsupported(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let errno = error.raw_os_error().map(Errno::from_raw_os_error);
    matches!(errno, Some(Errno::OPNOTSUPP | Errno::PROTONOSUPPORT | Errno::AFNOSUPPORT))
}

fn is_absent(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
}

/// Puts these chains in the place of those that are there.
pub fn apply(chains: &[Chain]) -> Result<(), Error> {
    let batch = Batch::replace(chains);
    send(&batch)
}

fn send(batch: &Batch) -> Result<(), Error> {
    open()?.request(&batch.bytes, batch.last).map_err(|(sequence, error)| {
        let step = batch.steps.get(sequence as usize);
        let what = step.map_or_else(|| "nf_tables".to_owned(), |step| step.words.clone());
        // The first messages are about the table alone: whoever refuses them has no nf_tables at all.
        let early = step.is_none_or(|step| step.modules.is_empty());
        if early && is_unsupported(&error) {
            return Error::NoNfTables(error);
        }
        let module = step.and_then(|step| step.modules.last().copied());
        if let Some(module) = module.filter(|_| is_absent(&error) || is_unsupported(&error)) {
            return Error::NoModule { what, module };
        }
        Error::of(what, error)
    })
}

/// Takes the table away; says whether there was one.
pub fn remove() -> Result<bool, Error> {
    let batch = Batch::remove();
    match open()?.request(&batch.bytes, batch.last) {
        Ok(()) => Ok(true),
        Err((_, error)) if is_absent(&error) || is_unsupported(&error) => Ok(false),
        Err((_, error)) => Err(Error::of(format!("removing the table inet {TABLE}"), error)),
    }
}

/// The rules that the kernel has, in its order.
pub fn rules() -> Result<Vec<Rule>, Error> {
    let bodies = match open()?.dump(&message::ask_rules()) {
        Ok(bodies) => bodies,
        // Netfilter calls a part that it lacks an invalid argument, outside of transactions.
        Err(error)
            if is_absent(&error) || is_unsupported(&error) || error.kind() == io::ErrorKind::InvalidInput =>
        {
            return Ok(Vec::new());
        }
        Err(error) => return Err(Error::of("reading the rules of nf_tables", error)),
    };
    bodies
        .iter()
        .map(|body| Rule::decode(body).ok_or(Error::Unreadable("a rule of the table inet weft")))
        .collect()
}

/// The same in words, with what went through them.
pub fn show() -> Result<Vec<Shown>, Error> {
    let counted = |rule: &Rule| {
        rule.expressions.iter().find_map(|expression| match expression {
            Expression::Counter { packets, bytes } => Some((*packets, *bytes)),
            _ => None,
        })
    };
    Ok(rules()?
        .into_iter()
        .map(|rule| {
            let (packets, bytes) = counted(&rule).unwrap_or_default();
            Shown { chain: rule.chain, words: rule.words, packets, bytes }
        })
        .collect())
}
