//! A network namespace of one's own: what listens there disturbs nobody, and other hosts can be joined to it.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::Context;

/// Set in the process that runs inside.
const INSIDE: &str = "WEFT_VERIFY_NAMESPACE";

/// Whether this process has a network of its own.
pub(super) fn is_own() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Runs this program again in a network of its own, where that is possible; returns where it is not, or has been done.
pub(super) fn enter() -> anyhow::Result<()> {
    if is_own() {
        let up = Command::new("ip").args(["link", "set", "lo", "up"]).status().context("running ip")?;
        anyhow::ensure!(up.success(), "ip link set lo up: {up}");
        return Ok(());
    }
    let possible = Command::new("unshare").args(["--net", "--", "ip", "link", "set", "lo", "up"]).output();
    if !possible.is_ok_and(|tried| tried.status.success()) {
        return Ok(());
    }
    let program = std::env::current_exe().context("finding this program")?;
    let mut command = Command::new("unshare");
    command.args(["--net", "--"]).arg(program).args(std::env::args_os().skip(1)).env(INSIDE, "1");
    Err(command.exec()).context("running unshare")
}
