//! TLSRoutes: which one takes a connection, by the server name that its client asks for.

use super::host::{Host, HostPattern};

/// Routes for connections of TLS. `T` is what stands for a route.
///
/// Precedence is Gateway API's (`TLSRouteSpec.hostnames`): the longest exact name, then the longest wildcard, then a
/// route without names, which takes every connection; then the order of routes as given.
#[derive(Clone, Debug)]
pub struct ServerNames<T> {
    /// In the order of precedence.
    entries: Box<[(Option<HostPattern>, usize)]>,
    routes: Box<[T]>,
}

impl<T> ServerNames<T> {
    /// The table of these routes, each with its names.
    pub fn new(routes: impl IntoIterator<Item = (Vec<HostPattern>, T)>) -> Self {
        let mut entries = Vec::new();
        let mut kept = Vec::new();
        for (index, (names, route)) in routes.into_iter().enumerate() {
            if names.is_empty() {
                entries.push((None, index));
            }
            entries.extend(names.into_iter().map(|name| (Some(name), index)));
            kept.push(route);
        }
        // It is stable: among equals the order stays.
        entries.sort_by_key(|(name, _)| (name.is_none(), name.as_ref().map(HostPattern::rank)));
        Self { entries: entries.into(), routes: kept.into() }
    }

    /// The route for a server name (RFC 6066 section 3); `None`: the client named none.
    pub fn find(&self, name: Option<&str>) -> Option<&T> {
        let name = name.map(Host::new);
        let (_, index) = self.entries.iter().find(|(pattern, _)| takes(pattern.as_ref(), name.as_ref()))?;
        self.routes.get(*index)
    }

    /// Every name of every route in the order of precedence, and whether it takes such a connection; the first that does is
    /// what [`ServerNames::find`] finds. `None` stands for a route that takes every connection.
    pub fn explain<'a>(
        &'a self,
        name: Option<&str>,
    ) -> impl Iterator<Item = (Option<&'a HostPattern>, &'a T, bool)> {
        let name = name.map(Host::new);
        self.entries.iter().filter_map(move |(pattern, index)| {
            let pattern = pattern.as_ref();
            Some((pattern, self.routes.get(*index)?, takes(pattern, name.as_ref())))
        })
    }

    /// Whether there is no route.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }

    /// Every route, in the order as given.
    pub fn iter(&self) -> std::slice::Iter<'_, T> {
        self.routes.iter()
    }
}

fn takes(pattern: Option<&HostPattern>, name: Option<&Host>) -> bool {
    match (pattern, name) {
        (None, _) => true,
        (Some(pattern), Some(name)) => pattern.matches(name.as_str()),
        (Some(_), None) => false,
    }
}

impl<'a, T> IntoIterator for &'a ServerNames<T> {
    type Item = &'a T;
    type IntoIter = std::slice::Iter<'a, T>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names() -> impl Strategy<Value = Vec<String>> {
        let name = proptest::sample::select(vec![
            "a.test",
            "b.test",
            "x.a.test",
            "*.test",
            "*.a.test",
            "*.x.a.test",
            "test",
        ]);
        proptest::collection::vec(name.prop_map(str::to_owned), 0..3)
    }

    /// The best of all routes, each looked at in turn.
    fn naive(routes: &[Vec<String>], asked: Option<&str>) -> Option<usize> {
        let quality = |pattern: &String| {
            let asked = asked?;
            match pattern.strip_prefix('*') {
                None => (pattern == asked).then_some((2, pattern.len())),
                Some(end) => (asked.ends_with(end) && asked.len() > end.len()).then_some((1, pattern.len())),
            }
        };
        let mut best = None;
        for (index, names) in routes.iter().enumerate() {
            let own = if names.is_empty() { Some((0, 0)) } else { names.iter().filter_map(quality).max() };
            if own.is_some_and(|own| best.is_none_or(|(other, _)| own > other)) {
                best = own.map(|own| (own, index));
            }
        }
        best.map(|(_, index)| index)
    }

    proptest! {
        #[test]
        fn the_most_specific_route_takes_a_connection(
            routes in proptest::collection::vec(names(), 0..5),
            asked in proptest::option::of(proptest::sample::select(vec![
                "a.test", "b.test", "c.test", "x.a.test", "y.x.a.test", "test", "other",
            ])),
        ) {
            let table = ServerNames::new(routes.iter().enumerate().map(|(index, names)| {
                (names.iter().map(|name| HostPattern::new(name).unwrap()).collect(), index)
            }));
            prop_assert_eq!(table.find(asked).copied(), naive(&routes, asked));
        }
    }
}
