//! Who gets which trouble when: the same for the same seed.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::sleep;

use super::clock;
use super::instance::{Instance, Trouble};
use crate::mesh::Mesh;

/// Between two changes.
const PAUSE: std::ops::Range<u64> = 300..1500;

/// Some trouble of one instance.
#[derive(Clone, Copy, Debug)]
pub(super) struct Spell {
    pub(super) instance: usize,
    pub(super) trouble: Trouble,
    pub(super) from: Duration,
    pub(super) to: Duration,
}

/// What is to change next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Begin(usize, Trouble),
    End(usize),
}

/// The seeded choice of changes. At most half of the instances are in trouble at a time.
struct Choice {
    random: fastrand::Rng,
    current: BTreeMap<usize, Trouble>,
    instances: usize,
}

impl Choice {
    fn new(seed: u64, instances: usize) -> Self {
        Self { random: fastrand::Rng::with_seed(seed), current: BTreeMap::new(), instances }
    }

    fn pause(&mut self) -> Duration {
        Duration::from_millis(self.random.u64(PAUSE))
    }

    fn next(&mut self) -> Option<Change> {
        let instance = self.random.usize(..self.instances);
        let trouble = Trouble::ALL[self.random.usize(..Trouble::ALL.len())];
        if self.current.remove(&instance).is_some() {
            return Some(Change::End(instance));
        }
        (self.current.len() < self.instances / 2).then(|| {
            self.current.insert(instance, trouble);
            Change::Begin(instance, trouble)
        })
    }
}

/// Brings trouble for some time, and ends all of it.
pub(super) async fn run(
    seed: u64,
    length: Duration,
    instances: &mut [Instance],
    mesh: &Mesh,
) -> anyhow::Result<Vec<Spell>> {
    let mut choice = Choice::new(seed, instances.len());
    let mut under_way: BTreeMap<usize, (Trouble, Duration)> = BTreeMap::new();
    let mut spells = Vec::new();
    let until = clock::now() + length;
    while clock::now() < until {
        match choice.next() {
            Some(Change::Begin(at, trouble)) => {
                under_way.insert(at, (trouble, clock::now()));
                instances[at].trouble(trouble, mesh).await?;
            }
            Some(Change::End(at)) => end(at, &mut under_way, instances, mesh, &mut spells)?,
            None => {}
        }
        instances.iter_mut().try_for_each(Instance::ensure_alive)?;
        sleep(choice.pause()).await;
    }
    for at in 0..instances.len() {
        end(at, &mut under_way, instances, mesh, &mut spells)?;
    }
    Ok(spells)
}

fn end(
    at: usize,
    under_way: &mut BTreeMap<usize, (Trouble, Duration)>,
    instances: &mut [Instance],
    mesh: &Mesh,
    spells: &mut Vec<Spell>,
) -> anyhow::Result<()> {
    let Some((trouble, from)) = under_way.remove(&at) else { return Ok(()) };
    instances[at].mend(trouble, mesh)?;
    spells.push(Spell { instance: at, trouble, from, to: clock::now() });
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_trouble_again_and_never_to_more_than_half() {
        let (mut one, mut again) = (Choice::new(7, 6), Choice::new(7, 6));
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..1000 {
            let (change, pause) = (one.next(), one.pause());
            assert_eq!((change, pause), (again.next(), again.pause()));
            assert!(one.current.len() <= 3);
            if let Some(Change::Begin(_, trouble)) = change {
                seen.insert(trouble);
            }
        }
        assert_eq!(seen.len(), Trouble::ALL.len());
    }
}
