//! Revoking what was believed: beside a control plane, or in a cluster.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, bail};
use serde_json::{Value, json};
use weft_control_plane::{
    Announcement, REVOCATIONS, Revocable, Revocation, default_state_dir, restore, revocations, revoke,
};

use crate::cluster::{Cluster, Kubeconfig};
use crate::output::{self, Format};
use crate::{runtime, table};

/// The `ConfigMap` of a cluster's revocations.
const MAPS: &str = "/api/v1/namespaces/weft-system/configmaps";

/// Of which control plane.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Where {
    /// State folder of the control plane [default: ~/.local/state/weft]
    #[arg(long, value_name = "DIR", env = "WEFT_STATE", conflicts_with = "kubernetes")]
    state: Option<PathBuf>,
    /// Of the control plane of a Kubernetes cluster, in its ConfigMap weft-revocations
    #[arg(long)]
    kubernetes: bool,
    #[command(flatten)]
    kubeconfig: Kubeconfig,
}

/// What to print.
#[derive(Debug, clap::Args)]
pub(crate) struct List {
    #[command(flatten)]
    place: Where,
    /// How to print it: `json` is an object by name, with `revokedAt` and `restoredAt` in seconds since 1970
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

/// What to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Action {
    /// Believe it no longer.
    Revoke,
    /// Believe it again.
    Restore,
}

/// Does it, and says what follows.
pub(crate) fn act(place: &Where, what: &Revocable, action: Action) -> anyhow::Result<ExitCode> {
    let now = SystemTime::now();
    let new = if place.kubernetes {
        runtime::on_this_thread(async {
            in_cluster(&place.kubeconfig.connect().await?, what, action, now).await
        })?
    } else {
        let state = place.state()?;
        match action {
            Action::Revoke => revoke(&state, what, now)?,
            Action::Restore => restore(&state, what, now).map(|()| true)?,
        }
    };
    let said = match (action, new) {
        (Action::Revoke, true) => format!("revoked {what}"),
        (Action::Revoke, false) => format!("{what} was revoked already"),
        (Action::Restore, _) => format!("restored {what}: what is issued from now on is believed"),
    };
    let _ = output::line(&said);
    Ok(ExitCode::SUCCESS)
}

/// Prints what is revoked of one kind.
pub(crate) fn list(args: &List, wanted: impl Fn(&Revocable) -> bool) -> anyhow::Result<ExitCode> {
    let held = if args.place.kubernetes {
        runtime::on_this_thread(async { held(&args.place.kubeconfig.connect().await?).await })?
    } else {
        revocations(&args.place.state()?)?
    };
    let held: BTreeMap<String, (Revocable, Revocation)> = held
        .into_iter()
        .filter_map(|(key, revocation)| Some((key.clone(), (Revocable::of_key(&key)?, revocation))))
        .filter(|(_, (what, _))| wanted(what))
        .collect();
    if args.output == Format::Json {
        let held: BTreeMap<_, _> = held.iter().map(|(key, (_, revocation))| (key, revocation)).collect();
        let _ = output::json(&held);
        return Ok(ExitCode::SUCCESS);
    }
    let time = |seconds: u64| {
        let timestamp = i64::try_from(seconds).ok().and_then(|it| jiff::Timestamp::from_second(it).ok());
        timestamp.map_or_else(|| seconds.to_string(), |it| it.to_string())
    };
    let rows: Vec<_> = held
        .values()
        .map(|(what, revocation)| {
            let restored = revocation.restored_at.map_or_else(|| "-".to_owned(), time);
            [what.to_string(), time(revocation.revoked_at), restored]
        })
        .collect();
    for line in table::table(["REVOKED", "SINCE", "RESTORED"], &rows) {
        let _ = output::line(&line);
    }
    Ok(ExitCode::SUCCESS)
}

impl Where {
    /// The state folder of a control plane.
    fn state(&self) -> anyhow::Result<PathBuf> {
        let state = self.state.clone().unwrap_or_else(default_state_dir);
        if Announcement::read(&state)?.is_none() {
            bail!(
                "no control plane has run with the state folder {}; name another with --state, or say --kubernetes for a \
                 cluster",
                state.display()
            );
        }
        Ok(state)
    }
}

/// What a cluster's `ConfigMap` holds. What can't be read is revoked without a time.
async fn held(cluster: &Cluster) -> anyhow::Result<BTreeMap<String, Revocation>> {
    let map = cluster.find(&format!("{MAPS}/{REVOCATIONS}")).await?;
    let data = map.as_ref().and_then(|map| map["data"].as_object());
    let read =
        |text: &Value| text.as_str().and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default();
    Ok(data.into_iter().flatten().map(|(key, text)| (key.clone(), read(text))).collect())
}

/// Writes under one name alone, so that two who do this at once don't undo each other.
async fn in_cluster(
    cluster: &Cluster,
    what: &Revocable,
    action: Action,
    now: SystemTime,
) -> anyhow::Result<bool> {
    let known = held(cluster).await?.get(&what.key()).copied();
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
    let revocation = match (action, known) {
        (Action::Revoke, Some(known)) if known.restored_at.is_none() => return Ok(false),
        (Action::Revoke, _) => Revocation { revoked_at: seconds, restored_at: None },
        (Action::Restore, Some(known)) if known.restored_at.is_none() => {
            Revocation { restored_at: Some(seconds + 1), ..known }
        }
        (Action::Restore, _) => bail!("{what} is not revoked"),
    };
    let text = serde_json::to_string(&revocation)?;
    let map = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": REVOCATIONS, "namespace": "weft-system"},
        "data": {what.key(): text},
    });
    cluster.put(MAPS, REVOCATIONS, &map).await.context("cannot write what is revoked")?;
    Ok(true)
}
