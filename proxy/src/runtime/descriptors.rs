//! How many descriptors the process may have open (`RLIMIT_NOFILE`), and what they are for.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::transport::relay::Pipes;

/// Descriptors that are no connection of a client and none to a peer for one: listeners, runtimes, the control plane,
/// the admin server, the monitor with the kubelet's probes, and files.
const RESERVE: usize = 128;
/// A connection of a client may need one to a peer.
const EACH: usize = 2;
/// The part of all descriptors that pipes may take, as a divisor.
const FOR_PIPES: usize = 8;
/// What is assumed where there is no limit: the kernel's own (`fs.nr_open`) as it is by default.
const UNLIMITED: usize = 1 << 20;

/// Raises the limit as far as the process may. For a program that starts no others: they would inherit it, and some look at
/// every descriptor up to the limit, or know none from 1024 on (`select(2)`).
pub(crate) fn raise() {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    if current == maximum {
        return;
    }
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, limit = ?current, "cannot raise the limit on open files");
    }
}

/// How many the process may have.
pub(crate) fn limit() -> usize {
    let current = getrlimit(Resource::Nofile).current;
    current.map_or(UNLIMITED, |current| usize::try_from(current).unwrap_or(UNLIMITED))
}

/// The pipes that each of so many workers may use, of a limit.
pub(crate) fn pipes(limit: usize, workers: usize) -> usize {
    (limit / FOR_PIPES / 2 / workers.max(1)).min(Pipes::MOST)
}

/// How many connections of clients fit into a limit, whatever they are for. Never none: a proxy that is given next to
/// nothing does what it can.
pub(crate) fn connections(limit: usize, workers: usize) -> usize {
    let others = RESERVE + 2 * workers * pipes(limit, workers);
    (limit.saturating_sub(others) / EACH).max(limit / 4).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_and_all_that_they_need_fit_into_the_limit() {
        for workers in [1, 2, 16, 64] {
            for limit in [1024, 4096, 65_536, 1 << 20] {
                let connections = connections(limit, workers);
                let needed = 2 * connections + 2 * workers * pipes(limit, workers) + RESERVE;
                assert!(needed <= limit, "{needed} of {limit} with {workers} workers");
                assert!(connections >= limit / 3, "{connections} of {limit} with {workers} workers");
            }
        }
        assert!(connections(16, 1) >= 1);
    }
}
