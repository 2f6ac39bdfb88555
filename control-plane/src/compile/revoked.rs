//! What is revoked, as it travels.

use weft_identity::Revoked;
use weft_proto::v1;
use weft_proto::v1::revocation::What;

/// What is revoked, as it travels.
pub(crate) fn revocations(revoked: &Revoked) -> Vec<v1::Revocation> {
    let tokens = revoked
        .tokens()
        .map(|id| v1::Revocation { what: Some(What::Token(id.to_owned())), issued_before: None });
    let identities = revoked.identities().map(|(identity, before)| v1::Revocation {
        what: Some(What::Identity(identity.as_str().to_owned())),
        issued_before: before.map(Into::into),
    });
    tokens.chain(identities).collect()
}
