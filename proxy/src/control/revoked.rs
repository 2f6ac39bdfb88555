//! What is revoked, as it is told.

use std::time::SystemTime;

use weft_identity::Revoked;
use weft_proto::v1;
use weft_proto::v1::revocation::What;

/// Reads what is revoked; the error names the place of what can't be read. What a newer control plane revokes in a way that
/// is not known here is left out, and told of: without the rest, even less would be enforced.
pub(super) fn revoked(wire: &[v1::Revocation]) -> Result<Revoked, String> {
    let mut revoked = Revoked::new();
    for (index, revocation) in wire.iter().enumerate() {
        match &revocation.what {
            Some(What::Token(id)) => revoked.token(id.as_str()),
            Some(What::Identity(identity)) => {
                let identity =
                    identity.parse().map_err(|error| format!("revoked[{index}].identity: {error}"))?;
                let before = revocation.issued_before.map(SystemTime::try_from).transpose();
                let before = before.map_err(|_| format!("revoked[{index}].issued_before: it is no time"))?;
                revoked.identity(identity, before);
            }
            None => tracing::warn!(index, "something is revoked that this version can't enforce; update it"),
        }
    }
    Ok(revoked)
}
