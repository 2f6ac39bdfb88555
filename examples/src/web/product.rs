use std::borrow::Cow;

use serde::{Deserialize, Serialize};

/// What is for sale.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Product {
    /// Number in the URL.
    pub id: u32,
    /// Title of the book.
    pub title: Cow<'static, str>,
    /// Who wrote it.
    pub author: Cow<'static, str>,
}

const PRODUCTS: [(u32, &str, &str); 3] = [
    (1, "Frankenstein", "Mary Shelley"),
    (2, "The Time Machine", "H. G. Wells"),
    (3, "Twenty Thousand Leagues Under the Sea", "Jules Verne"),
];

impl Product {
    /// The one with this number.
    pub(super) fn find(id: u32) -> Option<Self> {
        PRODUCTS.into_iter().find(|(known, ..)| *known == id).map(Self::from)
    }

    /// The one to show when none is asked for.
    pub(super) fn first() -> Self {
        let [first, ..] = PRODUCTS;
        Self::from(first)
    }

    /// The numbers there are, for people.
    pub(super) fn ids() -> String {
        PRODUCTS.map(|(id, ..)| id.to_string()).join(", ")
    }
}

impl From<(u32, &'static str, &'static str)> for Product {
    fn from((id, title, author): (u32, &'static str, &'static str)) -> Self {
        Self { id, title: title.into(), author: author.into() }
    }
}
