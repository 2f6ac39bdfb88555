//! Ratios over clustered units: the delta method, and random groups.
//!
//! Where users stick to a variant, their requests are no independent observations: counting them gave 58 to 72 % false alarms. The
//! variance of a ratio of sums `R = sum Y / sum N` over units is `sum (Y_u - R N_u)^2 / ((U - 1) U mean(N)^2)` (Deng, Knoblich & Lu, KDD
//! 2018). Units are too many to hold, groups of them are not: a second hash of the key puts each unit into one of B groups, and sums
//! of groups take the place of those of units. They merge by addition. Again the larger of the arms' own variance and the pooled one is
//! taken.
//!
//! For an event that a unit has once, [`crate::label`] on first events is valid *and* finds it sooner.

use crate::difference::Stage;
use crate::error::{Error, finite, within};
use crate::share::Share;

/// Sums of one unit or group.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Sums {
    /// The denominator: how many requests, say.
    pub count: f64,
    /// The numerator: how many of them failed, say.
    pub sum: f64,
}

/// A ratio of sums with its variance.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    /// `sum Y / sum N`.
    pub estimate: f64,
    /// Its variance by the delta method.
    pub variance: f64,
    units: f64,
    count: f64,
}

/// The ratio of one arm over units or groups that have a count above 0. None where there are fewer than two.
pub fn ratio(groups: &[Sums]) -> Result<Option<Ratio>, Error> {
    let mut total = Sums::default();
    let mut units = 0.0;
    for group in groups {
        within("a group's count", group.count, "finite and not below 0", |count| count >= 0.0)?;
        finite("a group's sum", group.sum)?;
        if group.count > 0.0 {
            units += 1.0;
            total.count += group.count;
            total.sum += group.sum;
        }
    }
    if units < 2.0 {
        return Ok(None);
    }
    let estimate = total.sum / total.count;
    let mean = total.count / units;
    let variance = residuals(groups, estimate) / ((units - 1.0) * units * mean * mean);
    Ok(Some(Ratio { estimate, variance, units, count: total.count }))
}

fn residuals(groups: &[Sums], ratio: f64) -> f64 {
    groups.iter().map(|group| (group.sum - ratio * group.count).powi(2)).sum()
}

/// The difference of the canary's ratio and control's, for [`crate::difference::Stages`]. None where an arm has fewer than two
/// groups. `share` is the canary's of the units of both.
pub fn difference(canary: &[Sums], control: &[Sums], share: Share) -> Result<Option<Stage>, Error> {
    let (Some(one), Some(zero)) = (ratio(canary)?, ratio(control)?) else { return Ok(None) };
    let both = (one.estimate * one.count + zero.estimate * zero.count) / (one.count + zero.count);
    let spread = residuals(canary, both) + residuals(control, both);
    let pooled =
        share.get() * spread / (one.count * one.count) + share.rest() * spread / (zero.count * zero.count);
    Ok(Some(Stage::given(
        one.count + zero.count,
        one.estimate - zero.estimate,
        one.variance + zero.variance,
        pooled,
        [one.units as u64, zero.units as u64],
    )))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::difference::Stages;
    use proptest::prelude::*;

    fn groups() -> impl Strategy<Value = Vec<Sums>> {
        prop::collection::vec(
            (1_u32..1000, 0.0..1000.0_f64).prop_map(|(n, sum)| Sums { count: f64::from(n), sum }),
            2..65,
        )
    }

    proptest! {
        #[test]
        fn the_residual_form_is_that_of_the_covariances(groups in groups()) {
            let found = ratio(&groups).unwrap().unwrap();
            let n = groups.len() as f64;
            let (mean_n, mean_y) = (groups.iter().map(|g| g.count).sum::<f64>() / n, groups.iter().map(|g| g.sum).sum::<f64>() / n);
            let covariance = |f: &dyn Fn(&Sums) -> f64| groups.iter().map(f).sum::<f64>() / (n - 1.0);
            let r = mean_y / mean_n;
            let naive = (covariance(&|g| (g.sum - mean_y).powi(2)) - 2.0 * r * covariance(&|g| (g.sum - mean_y) * (g.count - mean_n))
                + r * r * covariance(&|g| (g.count - mean_n).powi(2))) / (n * mean_n * mean_n);
            prop_assert!((found.variance - naive).abs() <= 1e-9 * (1.0 + naive));
        }

        #[test]
        fn units_of_one_request_are_like_means(values in prop::collection::vec(0.0..10.0_f64, 2..50)) {
            let units: Vec<Sums> = values.iter().map(|sum| Sums { count: 1.0, sum: *sum }).collect();
            let found = ratio(&units).unwrap().unwrap();
            let n = values.len() as f64;
            let mean = values.iter().sum::<f64>() / n;
            let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0) / n;
            prop_assert!((found.estimate - mean).abs() < 1e-9 && (found.variance - variance).abs() < 1e-9);
        }
    }

    #[test]
    fn too_few_groups_say_nothing() {
        let share = Share::new(0.5).unwrap();
        assert!(difference(&[Sums { count: 1.0, sum: 1.0 }], &[], share).unwrap().is_none());
        assert!(ratio(&[Sums { count: -1.0, sum: 0.0 }]).is_err());
        let groups = [Sums { count: 1.0, sum: 1.0 }, Sums { count: 1.0, sum: 0.0 }];
        assert!(!Stages::of(&[difference(&groups, &groups, share).unwrap().unwrap()]).is_ready());
    }
}
