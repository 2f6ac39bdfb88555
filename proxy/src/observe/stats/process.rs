//! What the process itself takes.

use std::fs;

/// Memory and file descriptors of this process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Process {
    /// Resident memory, in bytes.
    pub(super) resident: Option<u64>,
    /// Open file descriptors.
    pub(super) descriptors: Option<u64>,
}

impl Process {
    /// Reads it from the operating system, where that says so.
    pub(super) fn read() -> Self {
        let descriptors = fs::read_dir("/proc/self/fd").ok().map(|entries| entries.count() as u64);
        Self { resident: resident_memory(), descriptors }
    }
}

/// Resident memory of this process, in bytes, where the operating system says it.
pub fn resident_memory() -> Option<u64> {
    resident(&fs::read_to_string("/proc/self/status").ok()?)
}

/// `VmRSS` of proc(5)'s `status`, which is in units of 1024 bytes.
fn resident(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok()?.checked_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resident_memory_is_read_from_its_line() {
        assert_eq!(resident("VmHWM:\t  900 kB\nVmRSS:\t  512 kB\n"), Some(512 * 1024));
        assert_eq!(resident("VmHWM:\t  900 kB\n"), None);
        assert_eq!(resident("VmRSS:\tmany\n"), None);
    }
}
