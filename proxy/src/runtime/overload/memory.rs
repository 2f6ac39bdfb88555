//! How much memory the process may take, and how much it takes.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use weft_mesh::shedding::{ShedPolicy, Shedder};

use super::Part;

/// Time between two looks at the memory, by whichever worker has requests: reading it takes some ten microseconds.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// cgroup v1 says with a number of about this size that there is no limit.
const NO_LIMIT: u64 = 1 << 60;

/// Says how many bytes the process takes; `None`: the system does not tell.
pub type Used = fn() -> Option<u64>;

/// The memory of the process, against its limit.
#[derive(Debug)]
pub(super) struct Memory {
    limit: u64,
    used: Used,
    began: Instant,
    /// When it was last looked at, in milliseconds since then.
    looked: AtomicU64,
    shedder: Mutex<Shedder>,
    pub(super) part: Part,
}

impl Memory {
    pub(super) fn new(limit: u64, policy: ShedPolicy, used: Used, now: Instant) -> Self {
        Self {
            limit,
            used,
            began: now,
            looked: AtomicU64::new(0),
            shedder: Mutex::new(Shedder::new(policy)),
            part: Part::default(),
        }
    }

    /// Looks at the memory, unless somebody has done so lately.
    pub(super) fn look(&self, now: Instant) {
        // One more, so that the first look is none that was lately.
        let millis = now.saturating_duration_since(self.began).as_millis() as u64 + 1;
        let looked = self.looked.load(Ordering::Relaxed);
        if looked != 0 && millis.saturating_sub(looked) < LOOK_EVERY.as_millis() as u64 {
            return;
        }
        if self.looked.compare_exchange(looked, millis, Ordering::Relaxed, Ordering::Relaxed).is_err() {
            return;
        }
        let Some(used) = (self.used)() else { return };
        let part = self.shedder.lock().part(used as f64 / self.limit as f64);
        self.part.set(part);
    }
}

/// The limit of the control group that the process is in, in bytes; `None`: there is none.
pub fn group_limit() -> Option<u64> {
    limit_below(Path::new("/sys/fs/cgroup"), &fs::read_to_string("/proc/self/cgroup").ok()?)
}

/// The least limit of a process's groups and of those around them (cgroups(7)): `groups` is its `/proc/PID/cgroup`.
fn limit_below(root: &Path, groups: &str) -> Option<u64> {
    let limits = groups.lines().flat_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        match controllers {
            "" => around(root, path, "memory.max"),
            v1 if v1.split(',').any(|controller| controller == "memory") => {
                around(&root.join("memory"), path, "memory.limit_in_bytes")
            }
            _ => Vec::new(),
        }
    });
    limits.min()
}

/// The limits of a group and of those that it is in. In a container the path may be one of the machine's: what is not
/// there is passed over, and the container's own group is the root.
fn around(root: &Path, path: &str, file: &str) -> Vec<u64> {
    let path = PathBuf::from(path.trim_start_matches('/'));
    let limit = |group: &Path| fs::read_to_string(root.join(group).join(file)).ok()?.trim().parse().ok();
    path.ancestors().filter_map(limit).filter(|limit| *limit < NO_LIMIT).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(root: &Path, file: &str, text: &str) {
        let file = root.join(file);
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, text).unwrap();
    }

    #[test]
    fn the_least_limit_of_all_groups_around_counts() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        assert_eq!(limit_below(root, "0::/pod/sidecar\n"), None);
        write(root, "pod/sidecar/memory.max", "max\n");
        write(root, "pod/memory.max", "2000\n");
        assert_eq!(limit_below(root, "0::/pod/sidecar\n"), Some(2000));
        write(root, "pod/sidecar/memory.max", "1000\n");
        assert_eq!(limit_below(root, "0::/pod/sidecar\n"), Some(1000));
        write(root, "memory.max", "500\n");
        assert_eq!(
            limit_below(root, "0::/of/the/machine\n"),
            Some(500),
            "a container sees its group as the root"
        );
    }

    #[test]
    fn version_1_of_control_groups_is_read_too() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path();
        let groups = "4:cpu,cpuacct:/pod\n3:memory:/pod\n1:name=systemd:/pod\n";
        write(root, "memory/pod/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(limit_below(root, groups), None);
        write(root, "memory/memory.limit_in_bytes", "3000\n");
        assert_eq!(limit_below(root, groups), Some(3000));
    }

    #[test]
    fn memory_is_looked_at_ten_times_a_second_at_most() {
        thread_local! {
            static LOOKS: std::cell::Cell<u64> = const { std::cell::Cell::new(0) };
        }
        let used: Used = || {
            LOOKS.set(LOOKS.get() + 1);
            Some(95)
        };
        let start = Instant::now();
        let memory = Memory::new(100, ShedPolicy::new(0.9, 0.98).unwrap(), used, start);
        for millis in 0..250 {
            memory.look(start + Duration::from_millis(millis));
        }
        assert_eq!(LOOKS.get(), 3);
        assert!((0.6..0.8).contains(&memory.part.get()), "{}", memory.part.get());
    }
}
