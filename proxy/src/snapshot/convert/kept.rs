//! What outlives a change of the configuration, found again by the name of what it belongs to.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Display;
use std::sync::{Arc, Weak};

use weft_mesh::filter::Bucket;

use crate::runtime::clock::now;

/// What is left of rate limits. Settings are the snapshot's; this is the name's, as long as any snapshot in use has it.
#[derive(Debug, Default)]
pub struct Kept {
    buckets: RefCell<HashMap<String, Weak<Bucket>>>,
}

impl Kept {
    /// The place of what belongs to this name.
    pub(super) fn at(&self, name: impl Display) -> Permit<'_> {
        Permit { kept: self, name: name.to_string() }
    }

    fn bucket(&self, name: &str) -> Arc<Bucket> {
        let mut buckets = self.buckets.borrow_mut();
        if let Some(bucket) = buckets.get(name).and_then(Weak::upgrade) {
            return bucket;
        }
        buckets.retain(|_, bucket| bucket.strong_count() > 0);
        let bucket = Bucket::new(now());
        buckets.insert(name.to_owned(), Arc::downgrade(&bucket));
        bucket
    }
}

/// Where something stands in the configuration.
#[derive(Debug)]
pub(super) struct Permit<'a> {
    kept: &'a Kept,
    name: String,
}

impl Permit<'_> {
    /// The place of a part of it.
    pub(super) fn part(&self, part: impl Display) -> Self {
        Self { kept: self.kept, name: format!("{}/{part}", self.name) }
    }

    /// What is left of the limit that stands there.
    pub(super) fn bucket(&self) -> Arc<Bucket> {
        self.kept.bucket(&self.name)
    }
}
