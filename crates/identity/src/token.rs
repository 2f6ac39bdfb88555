//! Join tokens: how a machine outside of Kubernetes gets its first certificate.
//!
//! A token says who its holder may become, how to know the control plane (by the fingerprint of its root), and until
//! when. It is a JWT (RFC 7519) signed with HS256 alone: who mints a token is also the only one who verifies it, so a
//! public key would have no reader; and an HMAC has exactly one valid value, where an ECDSA signature can be changed
//! into another valid one.
//!
//! A token is good for any number of joins until it expires, as several replicas come with the same one.

mod join;

use std::fmt;
use std::path::Path;
use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use weft_mesh::name::{Identity, TrustDomain};

pub use self::join::JoinToken;
use crate::time::{from_unix, unix};
use crate::{Error, Fingerprint, Grants, files, tls};

/// The audience of a join token: a token for another purpose is refused even when the same key signed it.
pub const AUDIENCE: &str = "weft-join";

const KEY_FILE: &str = "token.key";
/// As long as the hash (RFC 7518, section 3.2).
const KEY_LEN: usize = 32;
const ID_LEN: usize = 16;
/// A token has well under 1 KiB; a stranger's longer text isn't worth parsing.
const MAX_LEN: usize = 8 * 1024;

/// What goes into a new token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewToken {
    /// Who its holder may become.
    pub identity: Identity,
    /// The roots by which to know the control plane; two while a root is replaced.
    pub roots: Vec<Fingerprint>,
    /// Where the control plane is, `host:port`; without it the holder has to know.
    pub control_plane: Option<String>,
    /// What its holder may do.
    pub grants: Grants,
    /// For how long.
    pub ttl: Duration,
}

/// What a token says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenClaims {
    /// Who its holder may become.
    pub identity: Identity,
    /// The roots by which to know the control plane.
    pub roots: Vec<Fingerprint>,
    /// Where the control plane is, `host:port`.
    pub control_plane: Option<String>,
    /// What its holder may do.
    pub grants: Grants,
    /// When it was made.
    pub issued_at: SystemTime,
    /// From when on it is refused.
    pub expires_at: SystemTime,
    /// Which token it is, for the audit log.
    pub id: String,
}

impl TokenClaims {
    /// The trust domain to join.
    pub fn trust_domain(&self) -> TrustDomain {
        self.identity.trust_domain()
    }

    /// Refuses a token that is past its end.
    pub fn check_expiry(&self, now: SystemTime) -> Result<(), Error> {
        if now < self.expires_at {
            return Ok(());
        }
        Err(Error::TokenExpired { identity: self.identity.to_string(), expired_at: self.expires_at })
    }
}

/// Makes tokens and verifies them.
///
/// ```
/// use std::time::{Duration, SystemTime};
///
/// use weft_identity::{CaMaterial, CertificateAuthority, Grants, JoinToken, NewToken, TokenIssuer};
///
/// # fn main() -> Result<(), weft_identity::Error> {
/// let now = SystemTime::now();
/// let trust_domain = "cluster.local".parse()?;
/// let authority =
///     CertificateAuthority::from_pem(&CaMaterial::generate(&trust_domain, now)?, "", &trust_domain, now)?;
/// let roots = authority.bundle().fingerprints(&trust_domain);
///
/// let issuer = TokenIssuer::from_key(&TokenIssuer::generate_key())?;
/// let new = NewToken {
///     identity: "spiffe://cluster.local/ns/shop/sa/reviews".parse()?,
///     roots: roots.clone(),
///     control_plane: Some("mesh.example.com:15012".to_owned()),
///     grants: Grants::default(),
///     ttl: Duration::from_hours(1),
/// };
/// let text = issuer.mint(&new, now)?;
///
/// // Its holder learns where the control plane is, and by which roots to know it.
/// let token = JoinToken::parse(&text)?;
/// assert_eq!(token.control_plane(), Some("mesh.example.com:15012"));
/// assert!(token.roots() == roots);
///
/// // The control plane learns who its holder may become.
/// assert_eq!(issuer.verify(&text, now)?.identity, new.identity);
/// assert!(issuer.verify(&text, now + Duration::from_hours(2)).is_err());
/// # Ok(())
/// # }
/// ```
#[derive(Clone)]
pub struct TokenIssuer {
    signing: EncodingKey,
    verifying: DecodingKey,
}

impl TokenIssuer {
    /// Opens the key `token.key` of a folder, and makes one when there is none, readable by its owner alone. Several
    /// processes may do this at once; they end up with the same key.
    pub fn open(folder: &Path) -> Result<Self, Error> {
        files::private_folder(folder)?;
        let path = folder.join(KEY_FILE);
        if files::read_secret(&path)?.is_none() {
            files::create_once(&path, Self::generate_key().as_bytes())?;
        }
        Self::from_key(&files::read(&path)?).map_err(|error| error.in_file(&path))
    }

    /// A new key as text, for callers that keep it elsewhere than in a folder.
    pub fn generate_key() -> String {
        STANDARD.encode(tls::random::<KEY_LEN>()) + "\n"
    }

    /// An issuer with a key that [`Self::generate_key`] made.
    pub fn from_key(text: &str) -> Result<Self, Error> {
        let key = STANDARD.decode(text.trim()).ok().filter(|key| key.len() == KEY_LEN).ok_or_else(|| {
            Error::invalid(
                "token key",
                "not 32 bytes in base64; remove it for a new one, which ends all tokens",
            )
        })?;
        Ok(Self { signing: EncodingKey::from_secret(&key), verifying: DecodingKey::from_secret(&key) })
    }

    /// Makes a token; refused without a root, by which its holder is to know the control plane.
    pub fn mint(&self, new: &NewToken, now: SystemTime) -> Result<String, Error> {
        if new.roots.is_empty() {
            return Err(Error::invalid(
                "join token",
                "no fingerprint of a root to know the control plane by",
            ));
        }
        let expires_at = now.checked_add(new.ttl).filter(|end| unix(*end) > unix(now)).ok_or_else(|| {
            Error::invalid("join token", format!("{:?} is no lifetime; use seconds or more", new.ttl))
        })?;
        let claims = Wire {
            sub: new.identity.to_string(),
            aud: AUDIENCE.to_owned(),
            iat: unix(now),
            exp: unix(expires_at),
            jti: URL_SAFE_NO_PAD.encode(tls::random::<ID_LEN>()),
            td: new.identity.trust_domain_str().to_owned(),
            root: new.roots.iter().map(Fingerprint::to_string).collect(),
            cp: new.control_plane.clone(),
            grants: new.grants.clone(),
        };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &self.signing)
            .map_err(|error| Error::invalid("join token", error.to_string()))
    }

    /// What a token of this issuer says; everything else is refused: changed, of another issuer, for another
    /// audience, signed in another way, expired.
    pub fn verify(&self, token: &str, now: SystemTime) -> Result<TokenClaims, Error> {
        if token.len() > MAX_LEN {
            return Err(malformed(format!("{} bytes long", token.len())));
        }
        let mut validation = Validation::new(Algorithm::HS256);
        // Both are checked below, where time is an argument and errors say more.
        validation.validate_exp = false;
        validation.validate_aud = false;
        validation.required_spec_claims.clear();
        let claims = jsonwebtoken::decode::<Wire>(token, &self.verifying, &validation)
            .map_err(|error| refused(&error))?
            .claims
            .check()?;
        claims.check_expiry(now)?;
        Ok(claims)
    }
}

impl fmt::Debug for TokenIssuer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenIssuer").finish_non_exhaustive()
    }
}

/// The claims as they are written.
#[derive(Debug, Serialize, Deserialize)]
struct Wire {
    sub: String,
    aud: String,
    iat: u64,
    exp: u64,
    jti: String,
    td: String,
    root: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cp: Option<String>,
    #[serde(flatten)]
    grants: Grants,
}

impl Wire {
    /// The claims as what they mean, except for whether they still hold.
    fn check(self) -> Result<TokenClaims, Error> {
        if self.aud != AUDIENCE {
            return Err(Error::TokenAudience { audience: self.aud, expected: AUDIENCE });
        }
        let identity: Identity =
            self.sub.parse().map_err(|error: weft_mesh::Error| malformed(error.to_string()))?;
        if identity.trust_domain_str() != self.td {
            return Err(malformed(format!("{identity} is not in the trust domain {:?}", self.td)));
        }
        let roots = self.root.iter().map(|root| root.parse()).collect::<Result<Vec<Fingerprint>, Error>>();
        let roots = roots.map_err(|error| malformed(error.to_string()))?;
        if roots.is_empty() {
            return Err(malformed("no fingerprint of a root".to_owned()));
        }
        self.grants.check().map_err(|error| malformed(error.to_string()))?;
        Ok(TokenClaims {
            identity,
            roots,
            control_plane: self.cp,
            grants: self.grants,
            issued_at: from_unix(self.iat),
            expires_at: from_unix(self.exp),
            id: self.jti,
        })
    }
}

fn malformed(problem: String) -> Error {
    Error::TokenMalformed { problem }
}

fn refused(error: &jsonwebtoken::errors::Error) -> Error {
    match error.kind() {
        ErrorKind::InvalidSignature => Error::TokenSignature,
        _ => malformed(error.to_string()),
    }
}

#[cfg(test)]
mod tests;
