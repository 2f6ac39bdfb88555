//! What happens when.

use std::time::Duration;

/// Weights of the versions of reviews: v1, v2, v3.
pub(super) type Weights = [u32; 3];

/// What to show.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Scenario {
    /// Everything below, one after the other
    #[default]
    All,
    /// Move the traffic from one version to the next, step by step
    Canary,
    /// Kill an instance, then the control plane, and bring both back
    Failure,
    /// Give the sidecars new certificates, one service after the other
    Rotation,
    /// Nothing: the mesh is yours
    None,
}

/// Something that is done to the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Action {
    /// Edit the weights in the YAML.
    Split(Weights),
    /// Kill one of the two instances of reviews v2, the program with its sidecar.
    KillInstance,
    /// Start it again.
    RestartInstance,
    /// Make the sidecars of these services get new certificates at once.
    Rotate(&'static [&'static str]),
    /// Kill the control plane.
    KillControlPlane,
    /// Start it again.
    RestartControlPlane,
}

/// An action and when it is due, from the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) at: Duration,
    pub(super) action: Action,
}

/// Actions, each with the share of the time that has passed before it.
type Plan = &'static [(f64, Action)];

const ALL: Plan = &[
    (0.12, Action::Split([20, 30, 50])),
    (0.24, Action::KillInstance),
    (0.38, Action::RestartInstance),
    (0.50, Action::Rotate(&["web", "reviews"])),
    (0.58, Action::KillControlPlane),
    (0.66, Action::RestartControlPlane),
    (0.86, Action::Split([0, 10, 90])),
];
const CANARY: Plan = &[
    (0.15, Action::Split([90, 0, 10])),
    (0.35, Action::Split([75, 0, 25])),
    (0.55, Action::Split([50, 0, 50])),
    (0.75, Action::Split([0, 0, 100])),
];
const FAILURE: Plan = &[
    (0.12, Action::KillInstance),
    (0.32, Action::RestartInstance),
    (0.48, Action::KillControlPlane),
    (0.52, Action::KillInstance),
    (0.62, Action::RestartControlPlane),
    (0.76, Action::RestartInstance),
];
const ROTATION: Plan = &[
    (0.15, Action::Rotate(&["web"])),
    (0.35, Action::Rotate(&["reviews"])),
    (0.55, Action::Rotate(&["ratings"])),
    (0.75, Action::Rotate(&["load", "web", "reviews", "ratings"])),
];

impl Scenario {
    /// The steps, in order, spread over `length`.
    pub(super) fn steps(self, length: Duration) -> Vec<Step> {
        let plan = match self {
            Self::All => ALL,
            Self::Canary => CANARY,
            Self::Failure => FAILURE,
            Self::Rotation => ROTATION,
            Self::None => &[],
        };
        plan.iter().map(|(share, action)| Step { at: length.mul_f64(*share), action: *action }).collect()
    }
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    const LENGTH: Duration = Duration::from_secs(20);

    #[test]
    fn steps_are_in_order_and_leave_time_to_see_the_last_one() {
        for scenario in Scenario::value_variants() {
            let steps = scenario.steps(LENGTH);
            assert!(steps.is_sorted_by_key(|step| step.at), "{scenario:?}");
            assert!(steps.iter().all(|step| step.at <= LENGTH.mul_f64(0.9)), "{scenario:?}");
        }
    }

    #[test]
    fn what_is_killed_was_running_and_comes_back() {
        for scenario in Scenario::value_variants() {
            let (mut instance, mut control_plane) = (true, true);
            for step in scenario.steps(LENGTH) {
                match step.action {
                    Action::KillInstance => assert!(std::mem::replace(&mut instance, false)),
                    Action::RestartInstance => assert!(!std::mem::replace(&mut instance, true)),
                    Action::KillControlPlane => assert!(std::mem::replace(&mut control_plane, false)),
                    Action::RestartControlPlane => assert!(!std::mem::replace(&mut control_plane, true)),
                    Action::Split(weights) => assert_eq!(weights.iter().sum::<u32>(), 100),
                    Action::Rotate(services) => assert!(!services.is_empty()),
                }
            }
            assert!(instance && control_plane, "{scenario:?}");
        }
    }

    #[test]
    fn the_first_split_is_changed_by_an_action_and_not_by_time() {
        assert!(Scenario::None.steps(LENGTH).is_empty());
        assert_eq!(Scenario::Canary.steps(LENGTH)[0].at, Duration::from_secs(3));
    }
}
