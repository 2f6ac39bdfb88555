//! With what the sidecar joins.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use weft_control_plane::{Announcement, TokenRequest, create_token, default_state_dir};
use weft_identity::JoinToken;

use crate::command::run::Args;

/// The life of a token that is made for this run. It is needed for the first certificate alone; that takes long only
/// when the control plane is away just then.
const LIFE: Duration = Duration::from_hours(1);
/// The namespace where nothing says another.
const NAMESPACE: &str = "default";
/// The account of a client that is a part of no service.
const CLIENT: &str = "default";

/// The token that was given, else one made with the key of the local control plane.
pub(super) fn find(args: &Args, now: SystemTime) -> anyhow::Result<JoinToken> {
    if let Some(text) = &args.token {
        let token = JoinToken::parse(text).context("the token of --token or WEFT_TOKEN is not usable")?;
        token.check_expiry(now).context("make a new one with `weft token create`")?;
        return Ok(token);
    }
    let state = args.state.clone().unwrap_or_else(default_state_dir);
    if Announcement::read(&state)?.is_none() {
        bail!(
            "no control plane has run here (state folder {}): start one with `weft control-plane --config DIR`, or \
             join another with --token",
            state.display()
        );
    }
    let request = TokenRequest {
        namespace: args.namespace.clone().unwrap_or_else(|| NAMESPACE.to_owned()),
        service_account: args.service.clone().unwrap_or_else(|| CLIENT.to_owned()),
        ttl: LIFE,
        control_plane: None,
    };
    let text = create_token(&state, &request, now)?;
    Ok(JoinToken::parse(&text)?)
}
