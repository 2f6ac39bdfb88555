//! What processes use, as /proc tells.

use std::fs;
use std::time::Duration;

use anyhow::Context;
use serde::Serialize;

/// Ticks per second of the times in /proc: a constant of the kernel's interface (`USER_HZ`), whatever its own clock.
const TICKS_PER_SECOND: u64 = 100;

/// Resident memory in KiB.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// Resident set size: pages shared with others count fully in each.
    pub rss_kib: u64,
    /// Proportional set size: a page shared by n processes counts 1/n in each.
    pub pss_kib: u64,
}

impl std::ops::Add for Memory {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { rss_kib: self.rss_kib + other.rss_kib, pss_kib: self.pss_kib + other.pss_kib }
    }
}

/// Processor time of `process` and its descendants since they started.
pub fn cpu_time(process: u32) -> anyhow::Result<Duration> {
    let mut total = Duration::ZERO;
    for id in family(process)? {
        let ticks = stat(id)?.ticks;
        let coarse = Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND);
        // The scheduler's own sum has nanoseconds but forgets threads that have ended; ticks remember them.
        let fine = scheduled_time(id).unwrap_or_default();
        let tolerance = Duration::from_millis(50);
        total += if coarse > fine + tolerance { coarse } else { fine };
    }
    Ok(total)
}

/// Resident memory of `process` and its descendants.
pub fn memory(process: u32) -> anyhow::Result<Memory> {
    let mut total = Memory::default();
    for id in family(process)? {
        let status = read(&format!("/proc/{id}/status"))?;
        let rollup = read(&format!("/proc/{id}/smaps_rollup"))?;
        let of = |text: &str, key| field(text, key).with_context(|| format!("process {id} has no {key}"));
        total = total + Memory { rss_kib: of(&status, "VmRSS:")?, pss_kib: of(&rollup, "Pss:")? };
    }
    Ok(total)
}

/// Each thread of `process` and its descendants, with the list of cores it may run on.
pub fn allowed_cores(process: u32) -> anyhow::Result<Vec<(u32, String)>> {
    let mut cores = Vec::new();
    for id in family(process)? {
        for thread in threads(id)? {
            let status = read(&format!("/proc/{id}/task/{thread}/status"))?;
            let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:"));
            cores.push((thread, list.context("no Cpus_allowed_list")?.trim().to_owned()));
        }
    }
    Ok(cores)
}

/// Time since the system's start that `core` had nothing to do. The kernel measures it, whereas its busy times are
/// samples at each tick, which a load that begins at ticks evades. What is neither idle nor known to be used was used
/// by others or withheld by the hypervisor.
pub fn core_idle(core: usize) -> anyhow::Result<Duration> {
    let text = read("/proc/stat")?;
    let ticks = idle_ticks(&text, core).with_context(|| format!("/proc/stat has no core {core}"))?;
    Ok(Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
}

fn idle_ticks(text: &str, core: usize) -> Option<u64> {
    let prefix = format!("cpu{core} ");
    let mut fields = text.lines().find_map(|line| line.strip_prefix(&prefix))?.split_whitespace();
    // user nice system idle iowait ...; proc_stat(5)
    let idle: u64 = fields.nth(3)?.parse().ok()?;
    let waiting: u64 = fields.next()?.parse().ok()?;
    Some(idle + waiting)
}

/// `process` and everything that descends from it.
fn family(process: u32) -> anyhow::Result<Vec<u32>> {
    let mut children = Vec::new();
    for entry in fs::read_dir("/proc")? {
        if let Some(id) = entry?.file_name().to_str().and_then(|name| name.parse::<u32>().ok())
            && let Ok(stat) = stat(id)
        {
            children.push((stat.parent, id));
        }
    }
    let mut family = vec![process];
    let mut next = 0;
    while let Some(&parent) = family.get(next) {
        family.extend(children.iter().filter(|(of, _)| *of == parent).map(|(_, id)| id));
        next += 1;
    }
    Ok(family)
}

struct Stat {
    parent: u32,
    /// User and system time of all threads, ended ones included.
    ticks: u64,
}

fn stat(process: u32) -> anyhow::Result<Stat> {
    let path = format!("/proc/{process}/stat");
    parse_stat(&read(&path)?).with_context(|| format!("{path} isn't as proc_pid_stat(5) says"))
}

fn parse_stat(text: &str) -> Option<Stat> {
    // The name in parentheses may hold anything, so fields are counted from its end: state is the third.
    let mut fields = text.get(text.rfind(')')? + 1..)?.split_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    let user: u64 = fields.nth(9)?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(Stat { parent, ticks: user + system })
}

fn scheduled_time(process: u32) -> Option<Duration> {
    let mut nanoseconds = 0;
    for thread in threads(process).ok()? {
        let text = fs::read_to_string(format!("/proc/{process}/task/{thread}/schedstat")).ok()?;
        nanoseconds += text.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    Some(Duration::from_nanos(nanoseconds))
}

fn threads(process: u32) -> anyhow::Result<Vec<u32>> {
    let path = format!("/proc/{process}/task");
    let entries = fs::read_dir(&path).with_context(|| format!("reading {path}"))?;
    Ok(entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect())
}

fn field(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key))?.split_whitespace().next()?.parse().ok()
}

fn read(path: &str) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("reading {path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_spaces_and_parentheses_does_not_shift_fields() {
        let text = "42 (a ) b) S 7 42 42 0 -1 4194560 1 0 0 0 30 12 0 0 20 0 1 0 100 0 0";
        let stat = parse_stat(text).unwrap();
        assert_eq!((stat.parent, stat.ticks), (7, 42));
    }

    #[test]
    fn waiting_for_disks_is_idle_too() {
        let text = "cpu  9 9 9 9 9 9 9 9 0 0\ncpu0 1 2 3 100 200 4 5 6 0 0\ncpu1 0 0 0 0 0 0 0 0 0 0\n";
        assert_eq!(idle_ticks(text, 0), Some(300));
        assert_eq!(idle_ticks(text, 2), None);
    }

    #[test]
    fn this_process_has_used_time_and_memory() {
        let own = std::process::id();
        cpu_time(own).unwrap();
        let memory = memory(own).unwrap();
        assert!(memory.pss_kib > 0 && memory.rss_kib >= memory.pss_kib);
        assert!(!allowed_cores(own).unwrap().is_empty());
    }
}
