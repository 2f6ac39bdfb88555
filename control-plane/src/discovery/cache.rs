//! Compiled resources, and which dependencies they rest on.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use weft_xds::EncodedResource;
use weft_xds::server::Lookup;

use crate::compile::Target;
use crate::index::DependencyKey;

/// Below this many entries, those that nobody subscribes to any more are left where they are.
const SWEEP_MIN: usize = 4096;

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) enum Cached {
    /// A destination, by the name that was dialled.
    Destination(Arc<str>),
    /// An inbound, by the identity that asks and the name that it asks for, as [`Workload::id`] has them.
    ///
    /// [`Workload::id`]: crate::index::Workload::id
    Inbound(Arc<str>),
}

/// Which of the contents that a name may have: callers with the same one share it.
type Variant = (Option<Target>, Option<Arc<str>>);

type Resource = Option<Arc<EncodedResource>>;

/// Compiled resources. That a name stands for nothing is an entry too, so that it is told when it appears.
#[derive(Default)]
pub(super) struct Cache {
    destinations: HashMap<Arc<str>, Names>,
    inbounds: HashMap<Arc<str>, (Resource, HashSet<DependencyKey>)>,
    resting_on: HashMap<DependencyKey, HashSet<Cached>>,
    sweep_at: usize,
}

/// A name of a destination.
#[derive(Default)]
struct Names {
    by_caller: HashMap<Arc<str>, Lookup>,
    variants: HashMap<Variant, Lookup>,
    dependencies: HashSet<DependencyKey>,
}

impl Cache {
    pub(super) fn len(&self) -> usize {
        self.destinations.len() + self.inbounds.len()
    }

    /// A destination as callers of this namespace get it, if it was compiled.
    pub(super) fn destination(&self, name: &str, namespace: &str) -> Option<Lookup> {
        self.destinations.get(name)?.by_caller.get(namespace).cloned()
    }

    /// One of the contents of a name, if it was compiled.
    pub(super) fn variant(&self, name: &str, variant: &Variant) -> Option<Lookup> {
        self.destinations.get(name)?.variants.get(variant).cloned()
    }

    pub(super) fn inbound(&self, id: &str) -> Option<Resource> {
        self.inbounds.get(id).map(|(resource, _)| resource.clone())
    }

    /// Notes what callers of a namespace get; without a variant nobody else gets the same because of it.
    pub(super) fn insert_destination(
        &mut self,
        name: &str,
        namespace: &Arc<str>,
        variant: Option<Variant>,
        resource: Lookup,
        dependencies: HashSet<DependencyKey>,
    ) {
        let name: Arc<str> =
            self.destinations.get_key_value(name).map_or_else(|| name.into(), |(name, _)| Arc::clone(name));
        let cached = Cached::Destination(Arc::clone(&name));
        for fact in &dependencies {
            self.resting_on.entry(fact.clone()).or_default().insert(cached.clone());
        }
        let names = self.destinations.entry(name).or_default();
        names.by_caller.insert(Arc::clone(namespace), resource.clone());
        names.variants.extend(variant.map(|variant| (variant, resource)));
        names.dependencies.extend(dependencies);
    }

    pub(super) fn insert_inbound(
        &mut self,
        id: &str,
        resource: Resource,
        dependencies: HashSet<DependencyKey>,
    ) {
        let id: Arc<str> = id.into();
        for fact in &dependencies {
            self.resting_on.entry(fact.clone()).or_default().insert(Cached::Inbound(Arc::clone(&id)));
        }
        self.inbounds.insert(id, (resource, dependencies));
    }

    /// Removes what rests on any of these dependencies, and says what that was.
    pub(super) fn invalidate(&mut self, dependencies: &HashSet<DependencyKey>) -> HashSet<Cached> {
        let resting = dependencies.iter().filter_map(|fact| self.resting_on.get(fact)).flatten();
        let removed: HashSet<Cached> = resting.cloned().collect();
        for cached in &removed {
            self.remove(cached);
        }
        removed
    }

    /// Removes what nobody wants any more, when there is twice as much as after the last time.
    pub(super) fn sweep(&mut self, wanted: impl Fn(&Cached) -> bool) {
        if self.len() <= self.sweep_at.max(SWEEP_MIN) {
            return;
        }
        let destinations = self.destinations.keys().map(|name| Cached::Destination(Arc::clone(name)));
        let inbounds = self.inbounds.keys().map(|id| Cached::Inbound(Arc::clone(id)));
        let unwanted: Vec<Cached> = destinations.chain(inbounds).filter(|cached| !wanted(cached)).collect();
        for cached in &unwanted {
            self.remove(cached);
        }
        self.sweep_at = 2 * self.len();
    }

    fn remove(&mut self, cached: &Cached) {
        let dependencies = match cached {
            Cached::Destination(name) => self.destinations.remove(name).map(|names| names.dependencies),
            Cached::Inbound(id) => self.inbounds.remove(id).map(|(_, dependencies)| dependencies),
        };
        for fact in dependencies.into_iter().flatten() {
            if let Some(resting) = self.resting_on.get_mut(&fact) {
                resting.remove(cached);
                if resting.is_empty() {
                    self.resting_on.remove(&fact);
                }
            }
        }
    }
}
