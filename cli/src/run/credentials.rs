//! With what the sidecar joins.

use std::time::{Duration, SystemTime};

use anyhow::{Context as _, bail};
use weft_control_plane::{Announcement, TokenRequest, create_token, default_state_dir};
use weft_identity::{Grants, JoinToken};

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
        grants: grants(args)?,
        ttl: LIFE,
        control_plane: None,
    };
    let text = create_token(&state, &request, now)?;
    Ok(JoinToken::parse(&text)?)
}

/// What is asked for on the command line, by whoever may read the key of the local control plane: the service and its
/// version, and with labels, which Services select by, every service of the namespace.
fn grants(args: &Args) -> anyhow::Result<Grants> {
    let services = args.service.iter().flat_map(|service| {
        let versioned = args.version.as_ref().map(|version| format!("{service}-{version}"));
        std::iter::once(service.clone()).chain(versioned)
    });
    let services = if args.labels.is_empty() { services.collect() } else { vec!["*".to_owned()] };
    let inbound =
        Some(args.inbound.ip()).filter(|address| !address.is_unspecified() && !address.is_loopback());
    Ok(Grants::new(Some(services), inbound.map(Into::into).into_iter().collect())?)
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        args: Args,
    }

    fn granted(line: &str) -> Grants {
        grants(&Program::try_parse_from(line.split_whitespace()).unwrap().args).unwrap()
    }

    #[test]
    fn a_local_token_grants_what_the_command_line_asks_for() {
        let identity = "spiffe://cluster.local/ns/default/sa/reviews".parse().unwrap();
        let services = |line: &str| granted(line).services(&identity).join(" ");
        assert_eq!(services("run"), "");
        assert_eq!(services("run --service reviews"), "reviews");
        assert_eq!(services("run --service reviews --version v1 --port 80"), "reviews reviews-v1");
        assert_eq!(services("run --service reviews --label track=canary"), "*");
        let elsewhere = granted("run --service reviews --port 80 --inbound 10.0.0.7:0");
        assert!(
            elsewhere.allow_address([10, 0, 0, 7].into()) && !elsewhere.allow_address([10, 0, 0, 8].into())
        );
        assert!(granted("run --service reviews --port 80 --inbound 0.0.0.0:0").addresses().is_empty());
    }
}
