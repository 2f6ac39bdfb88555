//! Which modules import which, and where they do so in a circle.

use std::collections::{BTreeMap, BTreeSet};

use petgraph::algo::tarjan_scc;
use petgraph::graphmap::DiGraphMap;
use syn::visit::{self, Visit};

use super::source::{Source, is_for_tests};

type Module = Vec<String>;

/// The modules of a crate, tests left out, and what each of them names of others.
pub(crate) struct Graph {
    edges: BTreeMap<Module, BTreeSet<Module>>,
}

impl Graph {
    /// Reads it from the files of a crate.
    pub(super) fn of(sources: &[Source]) -> Self {
        let files = || sources.iter().filter(|source| !source.is_test);
        let known: BTreeSet<Module> = files().map(|source| source.module.clone()).collect();
        let edges = files().map(|source| {
            let mut names = Names { known: &known, own: &source.module, found: BTreeSet::new() };
            names.visit_file(&source.file);
            (source.module.clone(), names.found)
        });
        Self { edges: edges.collect() }
    }

    /// Modules that all reach each other, the largest circle first. What a parent and its child have with each other is none.
    pub(super) fn circles(&self) -> Vec<Vec<String>> {
        let modules: Vec<&Module> = self.edges.keys().collect();
        let index: BTreeMap<&Module, usize> =
            modules.iter().enumerate().map(|(index, module)| (*module, index)).collect();
        let mut graph = DiGraphMap::<usize, ()>::new();
        for (from, to) in self.edges.iter().flat_map(|(from, all)| all.iter().map(move |to| (from, to))) {
            if !from.starts_with(to) && !to.starts_with(from) {
                graph.add_edge(index[from], index[to], ());
            }
        }
        let mut circles: Vec<Vec<String>> = tarjan_scc(&graph)
            .into_iter()
            .filter(|circle| circle.len() > 1)
            .map(|circle| circle.into_iter().map(|module| modules[module].join("::")).collect())
            .collect();
        for circle in &mut circles {
            circle.sort();
        }
        circles.sort_by_key(|circle| std::cmp::Reverse(circle.len()));
        circles
    }

    /// What each folder at the crate's root imports of others; a folder is one with the file of its name.
    #[cfg(test)]
    pub(super) fn folders(&self) -> BTreeMap<String, BTreeSet<String>> {
        let mut folders: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (from, all) in &self.edges {
            let Some(from) = from.first() else { continue };
            let to = all.iter().filter_map(|to| to.first()).filter(|to| *to != from).cloned();
            folders.entry(from.clone()).or_default().extend(to);
        }
        folders
    }
}

/// Finds the modules that a file names.
struct Names<'a> {
    known: &'a BTreeSet<Module>,
    own: &'a Module,
    found: BTreeSet<Module>,
}

impl Names<'_> {
    /// A path that begins with `crate`, `super`, `self` or a child.
    fn path(&mut self, path: &[String]) {
        let Some(first) = path.first() else { return };
        let mut absolute = match first.as_str() {
            "crate" => Vec::new(),
            "self" | "super" => self.own.clone(),
            child => {
                let mut module = self.own.clone();
                module.push(child.to_owned());
                if !self.known.contains(&module) {
                    return;
                }
                self.own.clone()
            }
        };
        for part in path {
            match part.as_str() {
                "crate" | "self" => {}
                "super" => drop(absolute.pop()),
                other => absolute.push(other.to_owned()),
            }
        }
        while !self.known.contains(&absolute) {
            if absolute.pop().is_none() {
                return;
            }
        }
        if absolute != *self.own {
            self.found.insert(absolute);
        }
    }

    fn tree(&mut self, tree: &syn::UseTree, before: &mut Vec<String>) {
        match tree {
            syn::UseTree::Path(path) => {
                before.push(path.ident.to_string());
                self.tree(&path.tree, before);
                before.pop();
            }
            syn::UseTree::Name(name) => self.leaf(&name.ident.to_string(), before),
            syn::UseTree::Rename(name) => self.leaf(&name.ident.to_string(), before),
            syn::UseTree::Glob(_) => self.path(before),
            syn::UseTree::Group(group) => group.items.iter().for_each(|tree| self.tree(tree, before)),
        }
    }

    fn leaf(&mut self, name: &str, before: &mut Vec<String>) {
        before.push(name.to_owned());
        self.path(before);
        before.pop();
    }
}

impl<'ast> Visit<'ast> for Names<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_for_tests(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_use(&mut self, item: &'ast syn::ItemUse) {
        self.tree(&item.tree, &mut Vec::new());
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let parts: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.path(&parts);
        visit::visit_path(self, path);
    }
}
