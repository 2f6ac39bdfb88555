//! Whether all sidecars hear the control plane.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::traffic::exposition::Sample;

/// Follows the sidecars through an absence of the control plane.
#[derive(Debug, Default)]
pub(super) enum Connected {
    /// All of them are.
    #[default]
    All,
    /// The control plane is away.
    None,
    /// It is back since then, and these have come back to it.
    Some(Instant, BTreeSet<&'static str>),
}

impl Connected {
    /// The control plane has gone.
    pub(super) fn control_plane_gone(&mut self) {
        *self = Self::None;
    }

    /// The control plane is back. Whatever sidecars said before does not count.
    pub(super) fn control_plane_back(&mut self, now: Instant) {
        *self = Self::Some(now, BTreeSet::new());
    }

    /// Takes what an instance says. Gives the time that it took since the control plane was back, when this instance
    /// was the last of `all` that was missing.
    pub(super) fn take(
        &mut self,
        now: Instant,
        instance: &'static str,
        samples: &[Sample],
        mut all: impl Iterator<Item = &'static str>,
    ) -> Option<Duration> {
        let Self::Some(back, connected) = self else { return None };
        let back = *back;
        if samples.iter().any(|sample| sample.name == "weft_control_plane_connected" && sample.value > 0.0) {
            connected.insert(instance);
        }
        all.all(|instance| connected.contains(instance)).then(|| {
            *self = Self::All;
            now.duration_since(back)
        })
    }

    /// Whether a change reaches all of them.
    pub(super) fn all(&self) -> bool {
        matches!(self, Self::All)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::traffic::exposition;

    const ALL: [&str; 2] = ["web-1", "load"];

    fn says(connected: u8) -> Vec<Sample> {
        exposition::read(&format!("weft_control_plane_connected {connected}\n"))
    }

    #[test]
    fn the_last_sidecar_to_come_back_ends_the_absence() {
        let (mut connected, start) = (Connected::default(), Instant::now());
        assert!(connected.all());
        connected.control_plane_gone();
        // What was asked before it went may arrive later.
        assert_eq!(connected.take(start, "web-1", &says(1), ALL.into_iter()), None);
        assert!(!connected.all());
        connected.control_plane_back(start);
        assert_eq!(connected.take(start, "web-1", &says(1), ALL.into_iter()), None);
        assert_eq!(connected.take(start, "load", &says(0), ALL.into_iter()), None);
        let later = start + Duration::from_secs(2);
        assert_eq!(connected.take(later, "load", &says(1), ALL.into_iter()), Some(Duration::from_secs(2)));
        assert!(connected.all());
    }
}
