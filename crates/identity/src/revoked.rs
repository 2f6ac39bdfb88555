//! What was believed once and is no longer, though its certificates have not expired.

use std::collections::{BTreeMap, BTreeSet};
use std::time::SystemTime;

use rustls::pki_types::CertificateDer;
use weft_mesh::name::Identity;

use crate::time::Stamp;
use crate::{Lineage, Reason, Refused};

/// What was revoked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Revoked {
    tokens: BTreeSet<String>,
    identities: BTreeMap<Identity, Option<SystemTime>>,
}

impl Revoked {
    /// Nothing.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing is revoked.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty() && self.identities.is_empty()
    }

    /// A token is revoked by its id, with every certificate that descends from it.
    pub fn token(&mut self, id: impl Into<String>) {
        self.tokens.insert(id.into());
    }

    /// An identity is revoked: whatever it shows; or what it shows that was issued before `before`, once it was given
    /// back. Of several the strictest counts.
    pub fn identity(&mut self, identity: Identity, before: Option<SystemTime>) {
        let held = self.identities.entry(identity).or_insert(before);
        *held = held.zip(before).map(|(held, before)| held.max(before));
    }

    /// The ids of revoked tokens.
    pub fn tokens(&self) -> impl Iterator<Item = &str> {
        self.tokens.iter().map(String::as_str)
    }

    /// The revoked identities, and before when what is revoked of each was issued; none: whenever.
    pub fn identities(&self) -> impl Iterator<Item = (&Identity, Option<SystemTime>)> {
        self.identities.iter().map(|(identity, before)| (identity, *before))
    }

    /// Refuses what an identity shows: issued then, and descended from this token if from one. `None` for a moment that
    /// is not known: it may have been any.
    pub fn check(
        &self,
        identity: &Identity,
        token: Option<&str>,
        issued_at: Option<SystemTime>,
    ) -> Result<(), Refused> {
        let refused = |problem: String| Err(Refused::new(Reason::Revoked, problem));
        match self.identities.get(identity) {
            None => {}
            Some(None) => return refused(format!("{identity} is revoked")),
            Some(Some(before)) if issued_at.is_some_and(|at| at >= *before) => {}
            Some(Some(before)) => {
                let before = Stamp(*before);
                return refused(format!("what was issued for {identity} before {before} is revoked"));
            }
        }
        match token.filter(|token| self.tokens.contains(*token)) {
            Some(token) => refused(format!("the join token {token} of {identity} is revoked")),
            None => Ok(()),
        }
    }

    /// The same for a certificate of the identity, by its lineage. One whose lineage can't be read is refused: what it
    /// descends from may be revoked.
    pub(crate) fn check_certificate(
        &self,
        identity: &Identity,
        leaf: &CertificateDer<'_>,
    ) -> Result<(), Refused> {
        if self.is_empty() {
            return Ok(());
        }
        let lineage = Lineage::of(leaf).map_err(|error| Refused::new(Reason::Other, error.to_string()))?;
        let issued_at = lineage.as_ref().map(|lineage| lineage.issued_at);
        self.check(identity, lineage.as_ref().and_then(Lineage::token), issued_at)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::time::from_unix;

    fn web() -> Identity {
        "spiffe://cluster.local/ns/shop/sa/web".parse().unwrap()
    }

    fn cart() -> Identity {
        "spiffe://cluster.local/ns/shop/sa/cart".parse().unwrap()
    }

    #[test]
    fn a_revoked_token_refuses_what_descends_from_it_alone() {
        let mut revoked = Revoked::new();
        revoked.token("a");
        let at = Some(from_unix(1));
        let refused = revoked.check(&web(), Some("a"), at).unwrap_err();
        assert_eq!(refused.reason(), Reason::Revoked);
        assert!(refused.to_string().contains("token a"), "{refused}");
        assert!(revoked.check(&web(), Some("b"), at).is_ok());
        assert!(revoked.check(&web(), None, None).is_ok());
    }

    #[test]
    fn an_identity_that_is_given_back_needs_what_is_issued_afterwards() {
        let mut revoked = Revoked::new();
        revoked.identity(web(), None);
        let second = |number| Some(from_unix(number));
        assert!(revoked.check(&web(), None, second(100)).is_err());
        assert!(revoked.check(&cart(), None, second(1)).is_ok());
        let mut given_back = Revoked::new();
        given_back.identity(web(), second(10));
        assert!(given_back.check(&web(), None, second(9)).is_err());
        assert!(given_back.check(&web(), None, None).is_err(), "it may be from before");
        assert!(given_back.check(&web(), None, second(10)).is_ok());
    }

    #[test]
    fn of_several_revocations_the_strictest_counts() {
        let now = from_unix(1_000);
        for (first, second) in [(None, Some(now)), (Some(now), None)] {
            let mut revoked = Revoked::new();
            revoked.identity(web(), first);
            revoked.identity(web(), second);
            assert!(revoked.check(&web(), None, Some(now + Duration::from_secs(9))).is_err());
        }
        let mut revoked = Revoked::new();
        revoked.identity(web(), Some(from_unix(5)));
        revoked.identity(web(), Some(from_unix(3)));
        assert!(revoked.check(&web(), None, Some(from_unix(4))).is_err());
    }
}
