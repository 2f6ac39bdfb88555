//! Who gets which trouble when: the same for the same seed.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::sleep;

use super::clock;
use super::instance::{Instance, Trouble};
use weft_harness::mesh::Mesh;

/// Between two changes, in milliseconds.
const PAUSE: std::ops::Range<u64> = 300..1300;
/// How often most instances are killed at once.
const BLOWS: u32 = 2;
/// For how long they are gone: long enough to be ejected, probed and ejected anew.
pub(super) const GONE: Duration = Duration::from_secs(4);

/// Some trouble of one instance.
#[derive(Clone, Copy, Debug)]
pub(super) struct FaultWindow {
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

/// The seeded choice of changes. At most half of the instances are in trouble at a time, and no trouble comes again before
/// each of the others has come.
struct Choice {
    random: fastrand::Rng,
    current: BTreeMap<usize, Trouble>,
    instances: usize,
    next: Vec<Trouble>,
}

impl Choice {
    fn new(seed: u64, instances: usize) -> Self {
        let random = fastrand::Rng::with_seed(seed);
        Self { random, current: BTreeMap::new(), instances, next: Vec::new() }
    }

    fn pause(&mut self) -> Duration {
        Duration::from_millis(self.random.u64(PAUSE))
    }

    fn next(&mut self) -> Option<Change> {
        let instance = self.random.usize(..self.instances);
        if self.current.remove(&instance).is_some() {
            return Some(Change::End(instance));
        }
        if self.current.len() >= self.instances / 2 {
            return None;
        }
        if self.next.is_empty() {
            self.next = Trouble::ALL.into();
            self.random.shuffle(&mut self.next);
        }
        let trouble = self.next.pop()?;
        self.current.insert(instance, trouble);
        Some(Change::Begin(instance, trouble))
    }

    /// Three of four.
    fn most(&mut self) -> Vec<usize> {
        self.current.clear();
        let mut all: Vec<_> = (0..self.instances).collect();
        self.random.shuffle(&mut all);
        all.truncate(self.instances * 3 / 4);
        all
    }
}

/// The instances, and the trouble that they have.
struct Course<'a> {
    instances: &'a mut [Instance],
    mesh: &'a Mesh,
    under_way: BTreeMap<usize, (Trouble, Duration)>,
    windows: Vec<FaultWindow>,
}

/// Brings trouble for some time, and ends all of it.
pub(super) async fn run(
    seed: u64,
    length: Duration,
    instances: &mut [Instance],
    mesh: &Mesh,
) -> anyhow::Result<Vec<FaultWindow>> {
    let mut choice = Choice::new(seed, instances.len());
    let mut course = Course { instances, mesh, under_way: BTreeMap::new(), windows: Vec::new() };
    let (from, until) = (clock::now(), clock::now() + length);
    let mut blows = (1..=BLOWS).map(|blow| from + length * blow / (BLOWS + 1)).peekable();
    while clock::now() < until {
        if blows.next_if(|at| clock::now() >= *at).is_some() {
            course.end_all()?;
            course.kill(&choice.most()).await?;
            sleep(GONE).await;
            course.end_all()?;
        } else {
            match choice.next() {
                Some(Change::Begin(at, trouble)) => course.begin(at, trouble).await?,
                Some(Change::End(at)) => course.end(at)?,
                None => {}
            }
        }
        course.instances.iter_mut().try_for_each(Instance::ensure_alive)?;
        sleep(choice.pause()).await;
    }
    course.end_all()?;
    Ok(course.windows)
}

impl Course<'_> {
    async fn begin(&mut self, at: usize, trouble: Trouble) -> anyhow::Result<()> {
        self.under_way.insert(at, (trouble, clock::now()));
        self.instances[at].trouble(trouble, self.mesh).await
    }

    /// Kills some at once: none is to hear of the end of another one.
    async fn kill(&mut self, most: &[usize]) -> anyhow::Result<()> {
        let from = clock::now();
        for at in most {
            self.under_way.insert(*at, (Trouble::MostKilled, from));
            self.instances[*at].crash()?;
        }
        for at in most {
            self.instances[*at].trouble(Trouble::MostKilled, self.mesh).await?;
        }
        Ok(())
    }

    fn end(&mut self, at: usize) -> anyhow::Result<()> {
        let Some((trouble, from)) = self.under_way.remove(&at) else { return Ok(()) };
        self.instances[at].mend(trouble, self.mesh)?;
        self.windows.push(FaultWindow { instance: at, trouble, from, to: clock::now() });
        Ok(())
    }

    fn end_all(&mut self) -> anyhow::Result<()> {
        (0..self.instances.len()).try_for_each(|at| self.end(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_gives_the_same_trouble_again_and_never_to_more_than_half() {
        let (mut one, mut again) = (Choice::new(7, 4), Choice::new(7, 4));
        let mut seen = std::collections::BTreeSet::new();
        for _ in 0..1000 {
            let (change, pause) = (one.next(), one.pause());
            assert_eq!((change, pause), (again.next(), again.pause()));
            assert!(one.current.len() <= 2);
            if let Some(Change::Begin(_, trouble)) = change {
                seen.insert(trouble);
            }
        }
        assert_eq!(seen.len(), Trouble::ALL.len());
        let most: std::collections::BTreeSet<_> = one.most().into_iter().collect();
        assert_eq!((most.len(), one.current.len()), (3, 0));
    }

    #[test]
    fn no_trouble_comes_again_before_each_has_come() {
        let mut choice = Choice::new(3, 4);
        let begun = std::iter::repeat_with(|| choice.next()).filter_map(|change| match change {
            Some(Change::Begin(_, trouble)) => Some(trouble),
            _ => None,
        });
        let first: std::collections::BTreeSet<_> = begun.take(Trouble::ALL.len()).collect();
        assert_eq!(first.len(), Trouble::ALL.len());
    }
}
