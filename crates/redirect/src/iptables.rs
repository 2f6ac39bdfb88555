//! iptables, for kernels without `nf_tables`: chains of our own, replaced by one run of `iptables-restore` for each table.

use std::env;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

pub mod text;

use crate::backend::Shown;
use crate::error::Error;
use crate::plan::{Chain, Family};
use crate::rules::Families;
use text::Table;

/// Where administrators' programs are, whatever `PATH` says.
const MORE_PATHS: [&str; 2] = ["/usr/sbin", "/sbin"];

struct Programs {
    family: Family,
    save: &'static str,
    restore: &'static str,
}

const IPV4: Programs = Programs { family: Family::Ipv4, save: "iptables-save", restore: "iptables-restore" };
const IPV6: Programs =
    Programs { family: Family::Ipv6, save: "ip6tables-save", restore: "ip6tables-restore" };

fn find(program: &'static str) -> Result<PathBuf, Error> {
    let paths = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&paths)
        .chain(MORE_PATHS.map(PathBuf::from))
        .map(|path| path.join(program))
        .find(|path| path.is_file())
        .ok_or(Error::NoProgram { program })
}

/// Whether the kernel has IPv6 at all.
fn has_ipv6() -> bool {
    Path::new("/proc/sys/net/ipv6").exists()
}

fn run(program: &'static str, arguments: &[&str], input: &str) -> Result<String, Error> {
    let failed = |error: io::Error| Error::of(program, error);
    let mut child = Command::new(find(program)?)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // A program that ends before it has read all says why itself.
        let _ = stdin.write_all(input.as_bytes());
    }
    let ended = child.wait_with_output().map_err(failed)?;
    if ended.status.success() {
        return Ok(String::from_utf8_lossy(&ended.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&ended.stderr).trim().replace('\n', "; ");
    if said.contains("Permission denied") || said.contains("must be root") {
        return Err(Error::NotPermitted { what: format!("{program}: {said}") });
    }
    let hint = "; where it names a missing table, match or target, load the kernel module for it on the node, such as \
                ip_tables, iptable_nat, xt_REDIRECT, xt_owner, xt_comment or xt_TPROXY";
    Err(Error::Program { program, said, hint })
}

fn replace(programs: &Programs, table: Table, chains: &[&Chain]) -> Result<bool, Error> {
    let saved = match run(programs.save, &["-t", table.name()], "") {
        Ok(saved) => saved,
        // There is nothing in a table that cannot be read; whoever needs it is told when writing it.
        Err(Error::Program { .. }) => String::new(),
        Err(error) => return Err(error),
    };
    let Some(text) = text::restore(programs.family, table, chains, &saved) else { return Ok(false) };
    // Others hold the lock of iptables for moments only.
    run(programs.restore, &["--noflush", "--wait", "10"], &text)?;
    Ok(true)
}

/// Puts these chains in the place of those that are there.
pub fn apply(chains: &[Chain], families: Families) -> Result<(), Error> {
    for programs in [IPV4, IPV6] {
        let wanted = match programs.family {
            Family::Ipv4 => families != Families::Ipv6,
            Family::Ipv6 => families != Families::Ipv4,
        };
        if programs.family == Family::Ipv6 && !has_ipv6() {
            continue;
        }
        for table in [Table::Mangle, Table::Nat] {
            let of_table = chains.iter().filter(|chain| wanted && Table::of(chain.place) == table);
            replace(&programs, table, &of_table.collect::<Vec<_>>())?;
        }
    }
    Ok(())
}

/// Takes the chains away, where the programs are; says whether there were any.
pub fn remove() -> Result<bool, Error> {
    let mut found = false;
    for programs in [IPV4, IPV6] {
        if find(programs.save).is_err() || (programs.family == Family::Ipv6 && !has_ipv6()) {
            continue;
        }
        for table in [Table::Mangle, Table::Nat] {
            found |= replace(&programs, table, &[])?;
        }
    }
    Ok(found)
}

/// The rules that are in force, in words.
pub fn show() -> Result<Vec<Shown>, Error> {
    let mut shown = Vec::new();
    for programs in [IPV4, IPV6] {
        if find(programs.save).is_err() {
            continue;
        }
        for table in [Table::Mangle, Table::Nat] {
            match run(programs.save, &["-c", "-t", table.name()], "") {
                Ok(saved) => shown.extend(text::shown(programs.family, &saved)),
                Err(Error::Program { .. }) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(shown)
}
