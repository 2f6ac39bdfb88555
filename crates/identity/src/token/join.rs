//! A join token in the hands of who wants to join.

use std::fmt;
use std::time::SystemTime;

use super::{MAX_LEN, TokenClaims, Wire, malformed};
use crate::{Error, Fingerprint};

/// A token to join with. Its signature means nothing to its holder, who has no key for it and got it from whoever they
/// trust; the control plane verifies it.
#[derive(Clone, PartialEq, Eq)]
pub struct JoinToken {
    text: String,
    claims: TokenClaims,
}

impl JoinToken {
    /// Reads a token, without white space around it. It may have expired; see [`Self::check_expiry`].
    pub fn parse(text: &str) -> Result<Self, Error> {
        let text = text.trim();
        if text.is_empty() {
            return Err(malformed("it is empty".to_owned()));
        }
        if text.len() > MAX_LEN {
            return Err(malformed(format!("{} bytes long", text.len())));
        }
        let wire: Wire = jsonwebtoken::dangerous::insecure_decode_claims(text)
            .map_err(|error| malformed(error.to_string()))?;
        Ok(Self { claims: wire.check()?, text: text.to_owned() })
    }

    /// The token itself, to send to the control plane over a connection that it was verified on: a secret.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// What it says.
    pub fn claims(&self) -> &TokenClaims {
        &self.claims
    }

    /// The roots by which to know the control plane.
    pub fn roots(&self) -> &[Fingerprint] {
        &self.claims.roots
    }

    /// Where the control plane is, `host:port`.
    pub fn control_plane(&self) -> Option<&str> {
        self.claims.control_plane.as_deref()
    }

    /// Refuses a token that is past its end by this machine's clock, before anyone is asked in vain.
    pub fn check_expiry(&self, now: SystemTime) -> Result<(), Error> {
        self.claims.check_expiry(now)
    }
}

impl fmt::Debug for JoinToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinToken").field("claims", &self.claims).finish_non_exhaustive()
    }
}
