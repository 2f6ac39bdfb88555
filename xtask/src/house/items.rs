//! Whether what others can use says what it is, and how often code gives up.

use syn::visit::{self, Visit};

use super::source::{Source, is_for_tests};

/// What was counted.
#[derive(Default)]
pub(super) struct Items {
    /// Items, fields, variants and methods that are `pub`.
    pub(super) public: usize,
    /// Those with documentation.
    pub(super) documented: usize,
    /// Blocks of code in documentation.
    pub(super) examples: usize,
    /// Calls of `unwrap` outside tests.
    pub(super) unwraps: usize,
}

/// Counts in all files but tests.
pub(super) fn count(sources: &[Source]) -> Items {
    let mut items = Items::default();
    for source in sources.iter().filter(|source| !source.is_test) {
        let fences = source.text.lines().map(str::trim_start).filter(|line| {
            line.strip_prefix("//!").or_else(|| line.strip_prefix("///")).is_some_and(|line| {
                let line = line.trim_start();
                line == "```" || line.starts_with("```rust") || line.starts_with("```no_run")
            })
        });
        items.examples += fences.count() / 2;
        items.visit_file(&source.file);
    }
    items
}

impl Items {
    fn item(&mut self, visibility: &syn::Visibility, attributes: &[syn::Attribute]) {
        if matches!(visibility, syn::Visibility::Public(_)) {
            self.public += 1;
            self.documented +=
                usize::from(attributes.iter().any(|attribute| attribute.path().is_ident("doc")));
        }
    }
}

impl<'ast> Visit<'ast> for Items {
    fn visit_item(&mut self, item: &'ast syn::Item) {
        match item {
            syn::Item::Mod(item) if is_for_tests(&item.attrs) => return,
            syn::Item::Fn(item) if is_for_tests(&item.attrs) => return,
            syn::Item::Fn(item) => self.item(&item.vis, &item.attrs),
            syn::Item::Const(item) => self.item(&item.vis, &item.attrs),
            syn::Item::Static(item) => self.item(&item.vis, &item.attrs),
            syn::Item::Struct(item) => self.item(&item.vis, &item.attrs),
            syn::Item::Enum(item) => self.item(&item.vis, &item.attrs),
            syn::Item::Trait(item) => self.item(&item.vis, &item.attrs),
            syn::Item::Type(item) => self.item(&item.vis, &item.attrs),
            _ => {}
        }
        visit::visit_item(self, item);
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if field.ident.is_some() {
            self.item(&field.vis, &field.attrs);
        }
        visit::visit_field(self, field);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.item(&function.vis, &function.attrs);
        visit::visit_impl_item_fn(self, function);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        self.unwraps += usize::from(call.method == "unwrap");
        visit::visit_expr_method_call(self, call);
    }
}
