//! All reports of one experiment.

use std::collections::BTreeMap;

use super::Counts;

/// Whose counts: a proxy's process, the epoch of the weights that decided, and the variant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Source {
    /// Made at random when the proxy's process starts.
    pub instance: u64,
    /// Of the weights that decided.
    pub epoch: u32,
    /// The variant's place in the experiment; 0 is control.
    pub variant: usize,
}

/// The latest counts of each source.
///
/// It is a join of a lattice: recording and merging are idempotent and may come in any order, so replicas that exchange what they
/// have agree.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Ledger(BTreeMap<Source, (u64, Counts)>);

impl Ledger {
    /// Takes the counts of a source. `number` rises with each of its reports; two with the same number are the same report. First
    /// events are taken also from reports that are not the latest.
    pub fn record(&mut self, source: Source, number: u64, counts: &Counts) {
        let Some((latest, known)) = self.0.get_mut(&source) else {
            self.0.insert(source, (number, counts.clone()));
            return;
        };
        if number > *latest {
            let before = std::mem::replace(known, counts.clone());
            *latest = number;
            known.unite(&before);
        } else {
            known.unite(counts);
        }
    }

    /// Takes all that another replica has.
    pub fn merge(&mut self, other: &Self) {
        for (source, (number, counts)) in &other.0 {
            self.record(*source, *number, counts);
        }
    }

    /// The sums over all instances, by epoch and variant.
    pub fn totals(&self) -> BTreeMap<(u32, usize), Counts> {
        let mut totals: BTreeMap<(u32, usize), Counts> = BTreeMap::new();
        for (source, (_, counts)) in &self.0 {
            totals.entry((source.epoch, source.variant)).or_default().add(counts);
        }
        totals
    }

    /// The latest counts of each source, with the number of their report.
    pub fn iter(&self) -> impl Iterator<Item = (Source, u64, &Counts)> + '_ {
        self.0.iter().map(|(source, (number, counts))| (*source, *number, counts))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::count::outcomes::Outcomes;
    use proptest::prelude::*;

    /// The `number`th report of a source: its counts only grow.
    fn report(source: Source, number: u64) -> Counts {
        let mut counts = Counts::default();
        let exposed = number * (source.instance + 2);
        counts.outcomes = Outcomes { exposed, ok: exposed - number, failed: number, ..Outcomes::default() };
        counts.values.resize_with(1, Default::default);
        for step in 0..number {
            counts.latency.record(step * 100 + source.instance);
            counts.values[0].record(step as f64, 10.0);
        }
        counts.events.resize_with(1, Default::default);
        // Only what is new since the report before is sent.
        counts.events[0].insert(source.instance * 1_000 + number);
        counts
    }

    fn reports() -> impl Strategy<Value = Vec<(Source, u64)>> {
        let source = (0_u64..3, 1_u32..3, 0_usize..2).prop_map(|(instance, epoch, variant)| Source {
            instance,
            epoch,
            variant,
        });
        prop::collection::vec((source, 1_u64..6), 0..40)
    }

    fn ledger(reports: &[(Source, u64)]) -> Ledger {
        let mut ledger = Ledger::default();
        for (source, number) in reports {
            ledger.record(*source, *number, &report(*source, *number));
        }
        ledger
    }

    proptest! {
        #[test]
        fn any_order_and_any_repetition_give_the_same(mut reports in reports(), again in 0_usize..40) {
            let forth = ledger(&reports);
            let repeated = reports.get(again).copied();
            reports.reverse();
            reports.extend(repeated);
            prop_assert_eq!(ledger(&reports), forth);
        }

        #[test]
        fn replicas_agree_whoever_heard_what(one in reports(), other in reports(), third in reports()) {
            let (a, b, c) = (ledger(&one), ledger(&other), ledger(&third));
            let mut left = a.clone();
            left.merge(&b);
            left.merge(&c);
            let mut right = c.clone();
            right.merge(&a);
            right.merge(&b);
            right.merge(&right.clone());
            prop_assert_eq!(&left, &right);
            let all: Vec<_> = one.into_iter().chain(other).chain(third).collect();
            prop_assert_eq!(left, ledger(&all));
        }

        #[test]
        fn totals_are_sums_of_the_latest(reports in reports()) {
            let totals = ledger(&reports).totals();
            let mut latest: BTreeMap<Source, u64> = BTreeMap::new();
            for (source, number) in &reports {
                let known = latest.entry(*source).or_default();
                *known = (*known).max(*number);
            }
            for ((epoch, variant), counts) in &totals {
                let own = latest.iter().filter(|(source, _)| source.epoch == *epoch && source.variant == *variant);
                let failed: u64 = own.clone().map(|(_, number)| number).sum();
                prop_assert_eq!(counts.outcomes.failed, failed);
                prop_assert_eq!(counts.latency.count(), failed);
                prop_assert!(counts.outcomes.check().is_ok());
                // First events of all reports are there, of the old ones too.
                let heard: std::collections::BTreeSet<_> = reports.iter()
                    .filter(|(source, _)| source.epoch == *epoch && source.variant == *variant)
                    .map(|(source, number)| source.instance * 1_000 + number)
                    .collect();
                prop_assert_eq!(counts.events[0].len(), heard.len());
            }
        }
    }
}
