//! Join tokens, made beside a control plane by a command of the same user.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::time::{Duration, SystemTime};

use weft_identity::{Fingerprint, Grants, NewToken, TokenIssuer};
use weft_mesh::name::{Identity, TrustDomain};

use crate::{Announcement, Error};

/// Whom a token is for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRequest {
    /// Namespace of the identity.
    pub namespace: String,
    /// Service account of the identity.
    pub service_account: String,
    /// What its holder may offer, and where.
    pub grants: Grants,
    /// How long it may be used.
    pub ttl: Duration,
    /// Where its holder finds the control plane, `host:port`; none: at the address that it listens on.
    pub control_plane: Option<String>,
}

/// Makes a token with the key in a state folder, for the control plane that runs or last ran there.
pub fn create_token(state_dir: &Path, request: &TokenRequest, now: SystemTime) -> Result<String, Error> {
    let Some(announced) = Announcement::read(state_dir)? else {
        let folder = state_dir.display();
        return Err(Error::Setting(format!(
            "state folder {folder}: no control plane has run with it; start one with `weft control-plane --state {folder}`"
        )));
    };
    let trust_domain: TrustDomain = announced.trust_domain.parse()?;
    let roots: Result<Vec<Fingerprint>, _> = announced.roots.iter().map(|root| root.parse()).collect();
    let mut address = announced.address;
    if address.ip().is_unspecified() {
        let v4 = address.is_ipv4();
        address.set_ip(if v4 { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { IpAddr::V6(Ipv6Addr::LOCALHOST) });
    }
    let new = NewToken {
        identity: Identity::new(&trust_domain, &request.namespace, &request.service_account)?,
        roots: roots?,
        control_plane: Some(request.control_plane.clone().unwrap_or_else(|| address.to_string())),
        grants: request.grants.clone(),
        ttl: request.ttl,
    };
    Ok(TokenIssuer::open(state_dir)?.mint(&new, now)?)
}
