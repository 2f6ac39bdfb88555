//! The label test of one stage: whose are the events?
//!
//! We assign units with a probability that we know. If variants do not differ, an event (a failure, a slow answer, an exposure) is
//! variant `i`'s with the probability of its share, whatever the rate of events does meanwhile. With a Dirichlet prior around
//! the shares the likelihood ratio has a closed form (Robbins 1970; Howard, Ramdas, McAuliffe & Sekhon, Annals of Statistics
//! 2021; Lindon & Malek, NeurIPS 2022):
//!
//! ```text
//! ln E = ln G(c) - ln G(c + n) + sum over i of [ln G(c rho_i + k_i) - ln G(c rho_i) - k_i ln rho_i]
//! ```
//!
//! It is computed as a sum of deviances, in which large terms have cancelled already: exact for 1e12 events as for three.

use crate::error::{Error, positive};
use crate::evidence::{Evidence, Interval, Level};
use crate::numeric::bisect;
use crate::share::{Share, Shares};
use crate::special::gamma::{deviance, stirling_error};

/// How strong the prior is, in events. It must be fixed before the data.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
pub struct Concentration(f64);

impl Concentration {
    /// For labels of events such as failures: tightest after 100 events at level 0.05.
    pub const EVENTS: Self = Self(11.600_560_979_3);
    /// For the sample ratio: best for deviations of half a point.
    pub const RATIO: Self = Self(10_000.0);
    /// For the edges of the omnibus test.
    pub const OMNIBUS: Self = Self(30.0);
    /// What a bound that is to be tightest after fewer events than its level allows gets.
    const LEAST: f64 = 1e-3;

    /// A concentration; an error unless it is finite and above 0.
    pub fn new(events: f64) -> Result<Self, Error> {
        positive("the concentration", events).map(Self)
    }

    /// The concentration at which the bound is tightest after so many events:
    /// `n / (2 ln(1 / alpha) + ln(1 + 2 ln(1 / alpha))) - 1`, but at least 0.001.
    pub fn tightest_at(events: f64, level: Level) -> Result<Self, Error> {
        let twice = 2.0 * level.threshold();
        let events = positive("the number of events", events)?;
        Ok(Self((events / (twice + twice.ln_1p()) - 1.0).max(Self::LEAST)))
    }

    /// In events.
    pub fn get(self) -> f64 {
        self.0
    }
}

/// The evidence that events do not fall on variants by their shares.
///
/// An error unless there is a count for each share. Events of a variant without a share can't be, and are the largest evidence that
/// there is.
pub fn multinomial(counts: &[u64], shares: &Shares, concentration: Concentration) -> Result<Evidence, Error> {
    let shares = shares.get();
    if counts.len() != shares.len() {
        return Err(Error::Length { what: "counts", found: counts.len(), expected: shares.len() });
    }
    if counts.iter().zip(shares).any(|(count, share)| *share == 0.0 && *count > 0) {
        return Ok(Evidence::from_log(f64::INFINITY));
    }
    let pairs = counts.iter().zip(shares).map(|(count, share)| (*count as f64, *share));
    Ok(Evidence::from_log(log_e(pairs, concentration.0)))
}

/// The evidence that `marked` of `events` do not fall on the canary by its share (two-sided).
pub fn binomial(
    marked: u64,
    events: u64,
    share: Share,
    concentration: Concentration,
) -> Result<Evidence, Error> {
    let others = rest(marked, events)?;
    let pairs = [(marked as f64, share.get()), (others as f64, share.rest())];
    Ok(Evidence::from_log(log_e(pairs.into_iter(), concentration.0)))
}

/// The same for counts that need not be whole.
pub(crate) fn log_binomial(marked: f64, events: f64, share: f64, concentration: f64) -> f64 {
    log_e([(marked, share), (events - marked, 1.0 - share)].into_iter(), concentration)
}

fn log_e(pairs: impl Iterator<Item = (f64, f64)> + Clone, concentration: f64) -> f64 {
    let events: f64 = pairs.clone().map(|(count, _)| count).sum();
    if events == 0.0 {
        return 0.0;
    }
    let both = concentration + events;
    let part = |before: f64, after: f64| {
        stirling_error(after) - stirling_error(before) - 0.5 * (after / before).ln()
    };
    let mut sum = -part(concentration, both);
    for (count, share) in pairs {
        if share > 0.0 {
            let before = concentration * share;
            sum += deviance(before + count, both * share) + part(before, before + count);
        }
    }
    sum
}

fn rest(marked: u64, events: u64) -> Result<u64, Error> {
    events.checked_sub(marked).ok_or(Error::MoreThanAll {
        what: "the marked events",
        part: marked,
        whole: events,
    })
}

/// The confidence sequence of a proportion, with the prior centred anew at each candidate (Howard et al. 2021).
pub fn proportion(
    marked: u64,
    events: u64,
    concentration: Concentration,
    level: Level,
) -> Result<Interval, Error> {
    rest(marked, events)?;
    let (marked, events) = (marked as f64, events as f64);
    let kept = |p: f64| log_binomial(marked, events, p, concentration.0) < level.threshold();
    let middle = if events > 0.0 { marked / events } else { 0.5 };
    let lower = if marked == 0.0 { 0.0 } else { bisect(0.0, middle, |p| !kept(p)) };
    let upper = if marked >= events { 1.0 } else { bisect(middle, 1.0, kept) };
    Ok(Interval { lower, upper })
}

/// The confidence sequences of the canary's share of the events, and of the ratio of the rates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    /// Of the probability that an event is the canary's.
    pub share: Interval,
    /// Of the ratio of the canary's rate of events to control's. The upper end is infinite while control has no event.
    pub ratio: Interval,
}

/// The confidence sequence of the ratio of event rates from one stage, with the prior held at the share: all shares of events
/// that are not rejected. [`crate::label::interval`] does it over stages.
pub fn ratio(canary: u64, control: u64, share: Share, concentration: Concentration, level: Level) -> Ratio {
    let (k, l) = (canary as f64, control as f64);
    let n = k + l;
    let away = |theta: f64| deviance(k, n * theta) + deviance(l, n * (1.0 - theta));
    let pairs = [(k, share.get()), (l, share.rest())];
    let limit = level.threshold() - log_e(pairs.into_iter(), concentration.0) + away(share.get());
    let middle = if n > 0.0 { k / n } else { share.get() };
    let lower = if canary == 0 { 0.0 } else { bisect(0.0, middle, |theta| away(theta) >= limit) };
    let upper = if control == 0 { 1.0 } else { bisect(middle, 1.0, |theta| away(theta) < limit) };
    let odds = |theta: f64| theta / (1.0 - theta) / share.odds();
    Ratio {
        share: Interval { lower, upper },
        ratio: Interval { lower: odds(lower), upper: if upper < 1.0 { odds(upper) } else { f64::INFINITY } },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::special::gamma::ln_gamma;
    use proptest::prelude::*;

    fn naive(counts: &[u64], shares: &[f64], c: f64) -> f64 {
        let n: u64 = counts.iter().sum();
        let mut sum = ln_gamma(c) - ln_gamma(c + n as f64);
        for (count, share) in counts.iter().zip(shares) {
            let count = *count as f64;
            sum += ln_gamma(c * share + count) - ln_gamma(c * share) - count * share.ln();
        }
        sum
    }

    proptest! {
        #[test]
        fn the_closed_form_is_found_for_small_counts(
            counts in prop::collection::vec(0_u64..500, 2..6),
            weights in prop::collection::vec(1_u32..1000, 6),
            c in 0.01..1e4_f64,
        ) {
            let shares = Shares::of_weights(&weights[..counts.len()]).unwrap();
            let found = multinomial(&counts, &shares, Concentration::new(c).unwrap()).unwrap().log();
            let expected = naive(&counts, shares.get(), c);
            prop_assert!((found - expected).abs() < 1e-8 * (1.0 + expected.abs()), "{} {}", found, expected);
        }

        #[test]
        fn the_expected_value_is_one(n in 1_u32..30, share in 0.001..0.999_f64, c in 0.01..1e4_f64) {
            let mut chance = (1.0 - share).powi(n.cast_signed());
            let mut mean = 0.0;
            for k in 0..=n {
                mean += chance * log_binomial(f64::from(k), f64::from(n), share, c).exp();
                chance *= f64::from(n - k) / f64::from(k + 1) * share / (1.0 - share);
            }
            prop_assert!((mean - 1.0).abs() < 1e-8, "{}", mean);
        }

        #[test]
        fn swapping_the_sides_changes_nothing(k in 0_u64..1_000_000, l in 0_u64..1_000_000, share in 1e-6..0.5_f64) {
            let (share, other) = (Share::new(share).unwrap(), Share::new(1.0 - share).unwrap());
            let one = binomial(k, k + l, share, Concentration::EVENTS).unwrap().log();
            let two = binomial(l, k + l, other, Concentration::EVENTS).unwrap().log();
            prop_assert!((one - two).abs() <= 1e-9 * (1.0 + one.abs()));
        }

        #[test]
        fn a_ratio_is_inside_exactly_if_it_is_not_rejected(
            k in 0_u64..200,
            l in 0_u64..200,
            share in 0.01..0.99_f64,
            candidate in 0.001..0.999_f64,
        ) {
            let share = Share::new(share).unwrap();
            let level = Level::new(0.05).unwrap();
            let found = ratio(k, l, share, Concentration::EVENTS, level);
            let (kf, lf) = (k as f64, l as f64);
            let rejected = log_binomial(kf, kf + lf, share.get(), Concentration::EVENTS.get())
                + kf * (share.get() / candidate).ln() + lf * (share.rest() / (1.0 - candidate)).ln()
                >= level.threshold();
            let edge = (found.share.lower - candidate).abs().min((found.share.upper - candidate).abs());
            prop_assert!(edge < 1e-9 || found.share.contains(candidate) != rejected);
        }

        #[test]
        fn a_proportion_is_inside_exactly_if_it_is_not_rejected(
            k in 0_u64..300,
            l in 0_u64..300,
            candidate in 0.0001..0.9999_f64,
        ) {
            let level = Level::new(0.01).unwrap();
            let found = proportion(k, k + l, Concentration::EVENTS, level).unwrap();
            let rejected = log_binomial(k as f64, (k + l) as f64, candidate, Concentration::EVENTS.get()) >= level.threshold();
            let edge = (found.lower - candidate).abs().min((found.upper - candidate).abs());
            prop_assert!(edge < 1e-9 || found.contains(candidate) != rejected);
        }

        #[test]
        fn extreme_counts_give_finite_answers(
            k in prop::sample::select(vec![0, 1, 1_000, 1_000_000_000_000_u64]),
            l in prop::sample::select(vec![0, 1, 1_000, 1_000_000_000_000_u64]),
            share in prop::sample::select(vec![1e-6, 0.1, 0.5, 1.0 - 1e-6]),
            c in prop::sample::select(vec![1e-3, 11.6, 1e4]),
        ) {
            let (share, c) = (Share::new(share).unwrap(), Concentration::new(c).unwrap());
            let level = Level::new(0.001).unwrap();
            prop_assert!(binomial(k, k + l, share, c).unwrap().log().is_finite());
            let found = ratio(k, l, share, c, level);
            prop_assert!(found.share.lower <= found.share.upper && found.ratio.lower.is_finite());
            let found = proportion(k, k + l, c, level).unwrap();
            prop_assert!(0.0 <= found.lower && found.lower <= found.upper && found.upper <= 1.0);
        }
    }

    #[test]
    fn a_part_that_is_more_than_all_is_refused() {
        let share = Share::new(0.1).unwrap();
        assert!(binomial(3, 2, share, Concentration::EVENTS).is_err());
        let shares = Shares::new(&[1.0, 0.0]).unwrap();
        assert!(multinomial(&[5, 1], &shares, Concentration::RATIO).unwrap().log() > 1e300);
        assert!(multinomial(&[5, 0], &shares, Concentration::RATIO).unwrap().log().abs() < 1e-12);
        assert!(multinomial(&[5], &shares, Concentration::RATIO).is_err());
    }
}
