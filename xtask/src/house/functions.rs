//! How long functions are.

use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

use super::source::{Source, is_for_tests};

/// A function and how many lines it has, from its signature to its last brace.
pub(super) struct Function {
    pub(super) path: String,
    pub(super) name: String,
    pub(super) lines: usize,
}

/// The functions of all files but tests.
pub(super) fn of(sources: &[Source]) -> Vec<Function> {
    let mut functions = Vec::new();
    for source in sources.iter().filter(|source| !source.is_test) {
        Finder { path: &source.path, functions: &mut functions }.visit_file(&source.file);
    }
    functions
}

struct Finder<'a> {
    path: &'a str,
    functions: &'a mut Vec<Function>,
}

impl Finder<'_> {
    fn found(&mut self, signature: &syn::Signature, block: &syn::Block) {
        let lines = 1 + block.span().end().line - signature.span().start().line;
        self.functions.push(Function {
            path: self.path.to_owned(),
            name: signature.ident.to_string(),
            lines,
        });
    }
}

impl<'ast> Visit<'ast> for Finder<'_> {
    fn visit_item_mod(&mut self, module: &'ast syn::ItemMod) {
        if !is_for_tests(&module.attrs) {
            visit::visit_item_mod(self, module);
        }
    }

    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        if !is_for_tests(&function.attrs) {
            self.found(&function.sig, &function.block);
            visit::visit_item_fn(self, function);
        }
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.found(&function.sig, &function.block);
        visit::visit_impl_item_fn(self, function);
    }
}
