//! Routes compiled for lookup.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::Hash;
use std::sync::Arc;

use foldhash::fast::RandomState;
use smallvec::SmallVec;

use super::host::{Host, HostPattern};
use super::path::grpc_method;
use super::{HttpMatch, HttpRoute, HttpRule, PathMatch, RequestParts, ResourceRef};
use crate::path::normal;

type Map<K, V> = HashMap<K, V, RandomState>;

/// Position in [`RouteTable::candidates`].
type CandidateId = u32;

/// Routes compiled so that a lookup costs as much as the path has elements, however many routes there are.
///
/// Per hostname there is a map of exact paths and a tree of prefixes by element; what stands at one path is tried in
/// order of precedence. Immutable, shared by all workers.
#[derive(Debug)]
pub struct RouteTable<B> {
    pub(super) routes: Box<[CompiledRoute<B>]>,
    /// Every match of every rule, in the order of routes, rules and matches.
    pub(super) candidates: Box<[Candidate]>,
    exact_hosts: Map<Box<str>, HostTable>,
    wildcard_hosts: Map<Box<str>, HostTable>,
    all_hosts: HostTable,
    /// Whether it matters what a path is.
    by_path: bool,
}

#[derive(Debug)]
pub(super) struct CompiledRoute<B> {
    pub(super) id: ResourceRef,
    pub(super) hostnames: Vec<HostPattern>,
    pub(super) rules: Box<[Arc<HttpRule<B>>]>,
}

/// One match of one rule.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) conditions: HttpMatch,
    pub(super) route: u32,
    pub(super) rule: u32,
    /// Position of the match in its rule.
    pub(super) index: u32,
}

/// The rule that a request met.
#[derive(Debug)]
pub struct RuleRef<'a, B> {
    /// The route.
    pub route: &'a ResourceRef,
    /// The rule; clone the `Arc` to keep it.
    pub rule: &'a Arc<HttpRule<B>>,
    /// Position of the route in the table.
    pub route_index: usize,
    /// Position of the rule in its route.
    pub rule_index: usize,
    /// The condition on the path that was met.
    pub path: &'a PathMatch,
    /// Length of the path prefix that was matched, without a trailing slash; 0 unless a prefix was.
    pub matched_prefix: usize,
}

impl<B> RouteTable<B> {
    /// Compiles routes, which are given in Gateway API's order among equals: oldest first, then by namespace and
    /// name.
    pub fn compile(routes: impl IntoIterator<Item = HttpRoute<B>>) -> Self {
        let mut candidates = Vec::new();
        let mut hosts: Map<Option<HostPattern>, Vec<CandidateId>> = Map::default();
        let mut compiled = Vec::new();
        for (route_index, route) in routes.into_iter().enumerate() {
            let first = candidates.len() as CandidateId;
            for (rule_index, rule) in route.rules.iter().enumerate() {
                let default = HttpMatch::default();
                let matches =
                    if rule.matches.is_empty() { std::slice::from_ref(&default) } else { &rule.matches };
                candidates.extend(matches.iter().enumerate().map(|(index, conditions)| Candidate {
                    conditions: conditions.clone(),
                    route: route_index as u32,
                    rule: rule_index as u32,
                    index: index as u32,
                }));
            }
            let ids = first..candidates.len() as CandidateId;
            if route.hostnames.is_empty() {
                hosts.entry(None).or_default().extend(ids);
            } else {
                for host in &route.hostnames {
                    hosts.entry(Some(host.clone())).or_default().extend(ids.clone());
                }
            }
            compiled.push(CompiledRoute {
                id: route.id,
                hostnames: route.hostnames,
                rules: route.rules.into_iter().map(Arc::new).collect(),
            });
        }
        let mut table = Self {
            by_path: candidates.iter().any(|candidate| candidate.conditions.path.is_selective()),
            routes: compiled.into(),
            candidates: candidates.into(),
            exact_hosts: Map::default(),
            wildcard_hosts: Map::default(),
            all_hosts: HostTable::default(),
        };
        for (host, ids) in hosts {
            let compiled = HostTable::compile(ids, &table.candidates);
            match host {
                None => table.all_hosts = compiled,
                Some(HostPattern { name, wildcard: true }) => _ = table.wildcard_hosts.insert(name, compiled),
                Some(HostPattern { name, wildcard: false }) => _ = table.exact_hosts.insert(name, compiled),
            }
        }
        table
    }

    /// The rule with the highest precedence among those that match, by the normal form of the path; `None` is answered
    /// with [`Reason::NoRoute`](crate::reason::Reason::NoRoute).
    pub fn find(&self, request: &RequestParts<'_>) -> Option<RuleRef<'_, B>> {
        let path = self.path_of(request);
        let request = RequestParts { path: &path, ..*request };
        self.find_among(&request, |candidate, request| candidate.conditions.rest_matches(request))
    }

    /// The path that matches are asked about.
    pub(super) fn path_of<'a>(&self, request: &RequestParts<'a>) -> Cow<'a, str> {
        if self.by_path { normal(request.path) } else { Cow::Borrowed(request.path) }
    }

    /// The first candidate, by path and in order of precedence, that `rest_matches` takes.
    pub(super) fn find_among(
        &self,
        request: &RequestParts<'_>,
        mut rest_matches: impl FnMut(&Candidate, &RequestParts<'_>) -> bool,
    ) -> Option<RuleRef<'_, B>> {
        let mut take = |candidate: &Candidate| rest_matches(candidate, request);
        let id = if self.exact_hosts.is_empty() && self.wildcard_hosts.is_empty() {
            self.all_hosts.find(request.path, &self.candidates, &mut take)
        } else {
            let host = Host::new(request.host);
            self.tables_for(host.as_str())
                .find_map(|table| table.find(request.path, &self.candidates, &mut take))
        };
        self.rule_ref(self.candidates.get(id? as usize)?)
    }

    /// The tables that a host falls under, the most specific first.
    fn tables_for<'a>(&'a self, host: &'a str) -> impl Iterator<Item = &'a HostTable> {
        let parents =
            std::iter::successors(Some(host), |host| host.split_once('.').map(|(_, parent)| parent));
        // A wildcard stands for at least one label that is not empty.
        let parents = parents.skip(1).filter(|_| !self.wildcard_hosts.is_empty() && !host.starts_with('.'));
        let wildcards = parents.filter_map(|parent| self.wildcard_hosts.get(parent));
        self.exact_hosts.get(host).into_iter().chain(wildcards).chain([&self.all_hosts])
    }

    pub(super) fn rule_ref<'a>(&'a self, candidate: &'a Candidate) -> Option<RuleRef<'a, B>> {
        let route = self.routes.get(candidate.route as usize)?;
        Some(RuleRef {
            route: &route.id,
            rule: route.rules.get(candidate.rule as usize)?,
            route_index: candidate.route as usize,
            rule_index: candidate.rule as usize,
            path: &candidate.conditions.path,
            matched_prefix: candidate.conditions.path.prefix_length(),
        })
    }

    /// Every rule with its route, in order: for what has to be made once for each, such as metric handles.
    pub fn rules(&self) -> impl Iterator<Item = (&ResourceRef, &Arc<HttpRule<B>>)> {
        self.routes.iter().flat_map(|route| route.rules.iter().map(|rule| (&route.id, rule)))
    }

    /// Whether there is no route.
    pub fn is_empty(&self) -> bool {
        self.routes.is_empty()
    }
}

/// The matches for one hostname, by path.
#[derive(Debug, Default)]
struct HostTable {
    exact: Map<Box<str>, Box<[CandidateId]>>,
    /// The first node is that of the empty prefix, if there are prefixes.
    prefixes: Vec<Node>,
    grpc_methods: Map<Box<str>, Box<[CandidateId]>>,
    regexes: Box<[CandidateId]>,
    any: Box<[CandidateId]>,
}

/// A path element in the tree of prefixes.
#[derive(Debug, Default)]
struct Node {
    children: Map<Box<str>, u32>,
    candidates: Box<[CandidateId]>,
}

impl HostTable {
    fn compile(mut ids: Vec<CandidateId>, candidates: &[Candidate]) -> Self {
        // The order of ids is that of routes, rules and matches, which a stable sort keeps among equals. A hostname
        // given twice must not make candidates of everything twice.
        ids.sort_unstable();
        ids.dedup();
        let conditions = |id: CandidateId| &candidates[id as usize].conditions;
        ids.sort_by_key(|id| conditions(*id).rank());
        let mut table = Self::default();
        let (mut exact, mut prefixes, mut methods) =
            (Grouped::default(), Grouped::default(), Grouped::default());
        let (mut regexes, mut any) = (Vec::new(), Vec::new());
        for id in ids {
            match &conditions(id).path {
                PathMatch::Exact(path) => exact.push(path, id),
                PathMatch::Prefix(prefix) => prefixes.push(prefix, id),
                PathMatch::GrpcMethod(method) => methods.push(method, id),
                PathMatch::Regex(_) => regexes.push(id),
                PathMatch::Any => any.push(id),
            }
        }
        for (prefix, ids) in prefixes.0 {
            table.insert_prefix(prefix, ids);
        }
        table.exact = exact.boxed();
        table.grpc_methods = methods.boxed();
        table.regexes = regexes.into();
        table.any = any.into();
        table
    }

    fn insert_prefix(&mut self, prefix: &str, ids: Vec<CandidateId>) {
        if self.prefixes.is_empty() {
            self.prefixes.push(Node::default());
        }
        let mut at = 0;
        for element in elements(prefix) {
            let next = self.prefixes.len() as u32;
            at = *self.prefixes[at].children.entry(element.into()).or_insert(next) as usize;
            if at == next as usize {
                self.prefixes.push(Node::default());
            }
        }
        self.prefixes[at].candidates = ids.into();
    }

    fn find(
        &self,
        path: &str,
        candidates: &[Candidate],
        take: &mut impl FnMut(&Candidate) -> bool,
    ) -> Option<CandidateId> {
        let mut first = |ids: &[CandidateId], by_path: bool| {
            let takes = |candidate: &Candidate| {
                (by_path || candidate.conditions.path.matches(path)) && take(candidate)
            };
            let mut takes = takes;
            ids.iter().copied().find(|id| candidates.get(*id as usize).is_some_and(&mut takes))
        };
        let exact = self.exact.get(path).and_then(|ids| first(ids, true));
        if exact.is_some() {
            return exact;
        }
        for node in self.prefixes_of(path).into_iter().rev() {
            let found = first(&node.candidates, true);
            if found.is_some() {
                return found;
            }
        }
        let method = grpc_method(path).filter(|_| !self.grpc_methods.is_empty());
        let by_method =
            method.and_then(|method| self.grpc_methods.get(method)).and_then(|ids| first(ids, true));
        by_method.or_else(|| first(&self.regexes, false)).or_else(|| first(&self.any, true))
    }

    /// The nodes that hold candidates for prefixes of a path, the shortest first.
    fn prefixes_of(&self, path: &str) -> SmallVec<[&Node; 8]> {
        let mut found = SmallVec::new();
        let Some(mut node) = self.prefixes.first() else { return found };
        let mut elements = elements(path);
        loop {
            if !node.candidates.is_empty() {
                found.push(node);
            }
            let child = elements.next().and_then(|element| node.children.get(element));
            match child.and_then(|child| self.prefixes.get(*child as usize)) {
                Some(child) => node = child,
                None => return found,
            }
        }
    }
}

/// The elements of a path; none for the empty prefix and for what does not begin with a slash.
fn elements(path: &str) -> impl Iterator<Item = &str> {
    path.strip_prefix('/').into_iter().flat_map(|rest| rest.split('/'))
}

/// Ids by path, each list in the order in which it was filled.
#[derive(Default)]
struct Grouped<'a>(Map<&'a str, Vec<CandidateId>>);

impl<'a> Grouped<'a> {
    fn push(&mut self, path: &'a str, id: CandidateId) {
        self.0.entry(path).or_default().push(id);
    }

    fn boxed<K: From<&'a str> + Hash + Eq>(self) -> Map<K, Box<[CandidateId]>> {
        self.0.into_iter().map(|(path, ids)| (path.into(), ids.into())).collect()
    }
}
