//! Why a handshake failed, in one word that is stable enough for a metric.

use std::fmt;
use std::io;
use std::sync::Arc;

use rustls::{AlertDescription, CertificateError, OtherError, PeerMisbehaved};

/// Why a certificate was not believed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// None was presented where one is required.
    NoCertificate,
    /// Past its end.
    Expired,
    /// Before its beginning: usually a clock that is wrong.
    NotYetValid,
    /// The chain doesn't lead to a root of the trust domain.
    UnknownIssuer,
    /// The bundle has no roots for the identity's trust domain.
    WrongTrustDomain,
    /// No URI among its names, or none that is the id of a workload.
    NoSpiffeId,
    /// More than one URI among its names.
    SeveralUriSans,
    /// A good identity, but not one that the client expected there.
    UnexpectedIdentity,
    /// A good identity, but it or the token that its certificate descends from is revoked.
    Revoked,
    /// A signature in the chain or of the handshake itself does not match.
    BadSignature,
    /// Anything else, such as a peer without TLS 1.3.
    Other,
}

impl Reason {
    /// All reasons, so that a metric's series can be made ahead.
    pub const ALL: [Self; 11] = [
        Self::NoCertificate,
        Self::Expired,
        Self::NotYetValid,
        Self::UnknownIssuer,
        Self::WrongTrustDomain,
        Self::NoSpiffeId,
        Self::SeveralUriSans,
        Self::UnexpectedIdentity,
        Self::Revoked,
        Self::BadSignature,
        Self::Other,
    ];

    /// The metric's label.
    pub fn label(self) -> &'static str {
        match self {
            Self::NoCertificate => "no_certificate",
            Self::Expired => "expired",
            Self::NotYetValid => "not_yet_valid",
            Self::UnknownIssuer => "unknown_issuer",
            Self::WrongTrustDomain => "wrong_trust_domain",
            Self::NoSpiffeId => "no_spiffe_id",
            Self::SeveralUriSans => "several_uri_sans",
            Self::UnexpectedIdentity => "unexpected_identity",
            Self::Revoked => "revoked",
            Self::BadSignature => "bad_signature",
            Self::Other => "other",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.label())
    }
}

/// A certificate that was not believed, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Refused {
    reason: Reason,
    detail: String,
}

impl Refused {
    /// A refusal with what to tell people.
    pub(crate) fn new(reason: Reason, detail: impl Into<String>) -> Self {
        Self { reason, detail: detail.into() }
    }

    /// The reason in a word.
    pub fn reason(&self) -> Reason {
        self.reason
    }
}

impl From<Refused> for rustls::Error {
    fn from(refused: Refused) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refused))))
    }
}

/// Which side ended a handshake.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Origin {
    /// We did not accept the peer.
    Local,
    /// The peer did not accept us; its alert says less than we would know, and `expired` also stands for not yet
    /// valid (RFC 8446, section 6.2).
    Peer,
}

impl Origin {
    /// The metric's label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Local => "local",
            Self::Peer => "peer",
        }
    }
}

/// What a failed handshake comes down to.
///
/// In TLS 1.3 a client's handshake ends before the server has looked at the client's certificate: the server's
/// refusal reaches the client as the error of its first read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Refusal {
    /// The reason in a word.
    pub reason: Reason,
    /// Which side refused.
    pub origin: Origin,
}

impl Refusal {
    /// Classifies an error of rustls.
    pub fn of(error: &rustls::Error) -> Self {
        let local = |reason| Self { reason, origin: Origin::Local };
        match error {
            rustls::Error::AlertReceived(alert) => {
                Self { reason: reason_of_alert(*alert), origin: Origin::Peer }
            }
            rustls::Error::NoCertificatesPresented => local(Reason::NoCertificate),
            rustls::Error::InvalidCertificate(error) => local(reason_of_certificate(error)),
            rustls::Error::PeerMisbehaved(PeerMisbehaved::SignedHandshakeWithUnadvertisedSigScheme) => {
                local(Reason::BadSignature)
            }
            _ => local(Reason::Other),
        }
    }

    /// Classifies an error of a TLS stream; `None` when it is not TLS that failed, such as a reset connection.
    pub fn of_io(error: &io::Error) -> Option<Self> {
        error.get_ref()?.downcast_ref().map(Self::of)
    }

    /// What went wrong in a handshake, for people: our own words where we refused, rustls' where it did.
    pub fn explain(error: &io::Error) -> String {
        let cause = error.get_ref().and_then(|error| error.downcast_ref());
        match cause {
            Some(rustls::Error::InvalidCertificate(CertificateError::Other(OtherError(cause)))) => {
                cause.to_string()
            }
            _ => error.to_string(),
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.reason, self.origin.label())
    }
}

fn reason_of_alert(alert: AlertDescription) -> Reason {
    match alert {
        AlertDescription::CertificateRequired | AlertDescription::NoCertificate => Reason::NoCertificate,
        AlertDescription::CertificateExpired => Reason::Expired,
        AlertDescription::CertificateRevoked => Reason::Revoked,
        AlertDescription::UnknownCA => Reason::UnknownIssuer,
        AlertDescription::DecryptError => Reason::BadSignature,
        _ => Reason::Other,
    }
}

fn reason_of_certificate(error: &CertificateError) -> Reason {
    match error {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => Reason::Expired,
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => Reason::NotYetValid,
        CertificateError::UnknownIssuer => Reason::UnknownIssuer,
        CertificateError::BadSignature
        | CertificateError::UnsupportedSignatureAlgorithmContext { .. }
        | CertificateError::UnsupportedSignatureAlgorithmForPublicKeyContext { .. } => Reason::BadSignature,
        CertificateError::Other(OtherError(cause)) => {
            cause.downcast_ref::<Refused>().map_or(Reason::Other, Refused::reason)
        }
        _ => Reason::Other,
    }
}
