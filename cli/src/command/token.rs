//! `weft token`: with what sidecars join.

use std::io::Write as _;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::str::FromStr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::Context as _;
use ipnet::IpNet;
use serde::Serialize;
use weft_control_plane::{Announcement, Revocable, TokenRequest, create_token, default_state_dir};
use weft_identity::{Grants, JoinToken};

use crate::output::{self, Format};
use crate::revoke::{Action, List, Where, act, list};

const EXAMPLES: &str = "\
Examples:
  weft token create --identity shop/web
  weft token create --identity shop/web --ttl 24h --control-plane mesh.example.com:15012
  WEFT_TOKEN=$(weft token create --identity shop/web) weft run --service web --port 8080 -- ./web
  weft token create --identity shop/reviews --service reviews,reviews-v1
      for `weft run --service reviews --version v1`, which offers both; reviews-* would be for every version
  weft token create --identity shop/web --file /run/weft/token --wait 30s
      where there is no shell to redirect its output, and the control plane may still be starting

It runs where the control plane runs, as the same user. A token lets its holder become this identity and nothing else,
as often as wanted until it expires, and offer the service that is named as the account, or those of --service, at the
address that it comes from or those of --address; treat it as a password. A workload that has joined goes on after its
token has expired, and ends with its certificate after the token was revoked.";

const REVOKE_EXAMPLES: &str = "\
Examples:
  weft token revoke 3q2-7wEjRWeJq83vASNFZw
  weft token revoke \"$WEFT_TOKEN\" --state /var/lib/weft
  weft token list

The id of a token is in `weft token create --output json`, in the control plane's log (`of`, where a certificate was
issued) and in its /clients. What descends from the token is refused by every peer as soon as the control plane has told
them, by the control plane itself, and at renewal; its registrations end. It is for good: make a new token for those who
are to go on.";

/// Pause between two looks for a control plane.
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[derive(Debug, clap::Subcommand)]
pub(crate) enum Command {
    /// Make a token for one identity
    #[command(after_help = EXAMPLES)]
    Create(Create),
    /// Believe a token no longer, and nothing that descends from it
    #[command(after_help = REVOKE_EXAMPLES)]
    Revoke(Revoke),
    /// Print the tokens that are revoked
    #[command(after_help = REVOKE_EXAMPLES)]
    List(List),
}

#[derive(Debug, clap::Args)]
pub(crate) struct Revoke {
    /// Id of the token, or the token itself
    #[arg(value_name = "ID", value_parser = revocable, allow_hyphen_values = true)]
    token: Revocable,
    #[command(flatten)]
    place: Where,
}

fn revocable(text: &str) -> Result<Revocable, String> {
    Revocable::token(text).map_err(|error| error.to_string())
}

#[derive(Debug, clap::Args)]
pub(crate) struct Create {
    /// Who may join with it: `weft run --service web` is the account `web`
    #[arg(long, value_name = "NAMESPACE/ACCOUNT")]
    identity: Account,
    /// Services of the namespace that its holder may offer; a name that ends in * stands for all that begin so [default:
    /// the one that is named as the account]
    #[arg(long = "service", value_name = "NAME[,NAME]", value_delimiter = ',', value_parser = service)]
    services: Vec<String>,
    /// Addresses, or blocks such as 10.0.0.0/8, that its holder may be reached at, besides the one that it comes from
    #[arg(long = "address", value_name = "ADDRESS[,ADDRESS]", value_delimiter = ',', value_parser = block)]
    addresses: Vec<IpNet>,
    /// How long it may be used
    #[arg(long, value_name = "DURATION", default_value = "1h", value_parser = weft_values::some_duration)]
    ttl: Duration,
    /// Where its holder finds the control plane [default: where it listens]
    #[arg(long, value_name = "HOST:PORT", value_parser = weft_values::authority)]
    control_plane: Option<http::uri::Authority>,
    /// State folder of the control plane [default: ~/.local/state/weft]
    #[arg(long, value_name = "DIR", env = "WEFT_STATE")]
    state: Option<PathBuf>,
    /// Write it to this file, for its owner alone to read, instead of printing it
    #[arg(long, value_name = "FILE", conflicts_with = "output")]
    file: Option<PathBuf>,
    /// How long to wait for a control plane to have run with the state folder
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = weft_values::duration)]
    wait: Duration,
    /// How to print it: `json` is one object with `token`, `id`, `identity`, `control_plane` and `expires_at` (seconds
    /// since 1970)
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

fn service(text: &str) -> Result<String, String> {
    let grants = Grants::new(Some(vec![text.to_owned()]), Vec::new());
    grants.map(|_| text.to_owned()).map_err(|error| error.to_string())
}

fn block(text: &str) -> Result<IpNet, String> {
    let block = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
    block.map_err(|_| "write an address, or a block such as 10.0.0.0/8".to_owned())
}

/// Namespace and service account.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Account {
    namespace: String,
    name: String,
}

impl FromStr for Account {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text.split_once('/') {
            Some((namespace, name)) if !namespace.is_empty() && !name.is_empty() && !name.contains('/') => {
                Ok(Self { namespace: namespace.to_owned(), name: name.to_owned() })
            }
            _ => Err("write namespace and service account, such as shop/web".to_owned()),
        }
    }
}

#[derive(Serialize)]
struct Made<'a> {
    token: &'a str,
    id: &'a str,
    identity: &'a str,
    control_plane: Option<&'a str>,
    expires_at: u64,
}

pub(crate) fn run(command: Command) -> anyhow::Result<ExitCode> {
    let args = match command {
        Command::Create(args) => args,
        Command::Revoke(Revoke { token, place }) => return act(&place, &token, Action::Revoke),
        Command::List(args) => return list(&args, |what| matches!(what, Revocable::Token(_))),
    };
    let services = Some(args.services).filter(|services| !services.is_empty());
    let request = TokenRequest {
        namespace: args.identity.namespace,
        service_account: args.identity.name,
        grants: Grants::new(services, args.addresses)?,
        ttl: args.ttl,
        control_plane: args.control_plane.map(|address| address.to_string()),
    };
    let state = args.state.unwrap_or_else(default_state_dir);
    await_control_plane(&state, args.wait)?;
    let token = JoinToken::parse(&create_token(&state, &request, SystemTime::now())?)?;
    if let Some(file) = &args.file {
        write(file, token.as_str()).with_context(|| format!("--file {}: cannot write it", file.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let claims = token.claims();
    let _ = match args.output {
        Format::Text => output::line(token.as_str()),
        Format::Json => output::json(&Made {
            token: token.as_str(),
            id: &claims.id,
            identity: claims.identity.as_str(),
            control_plane: token.control_plane(),
            expires_at: claims.expires_at.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs()),
        }),
    };
    Ok(ExitCode::SUCCESS)
}

/// Waits until a control plane has announced itself in the state folder; what is missing then is told by who needs it.
fn await_control_plane(state: &Path, wait: Duration) -> anyhow::Result<()> {
    let began = Instant::now();
    while Announcement::read(state)?.is_none() && began.elapsed() < wait {
        std::thread::sleep(LOOK_EVERY);
    }
    Ok(())
}

/// Writes a file that is complete whenever it is there, and private.
fn write(file: &Path, text: &str) -> std::io::Result<()> {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut temporary = tempfile::NamedTempFile::new_in(folder)?;
    writeln!(temporary, "{text}")?;
    temporary.persist(file)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_is_a_namespace_and_a_name() {
        let account: Account = "shop/web".parse().unwrap();
        assert_eq!((account.namespace.as_str(), account.name.as_str()), ("shop", "web"));
        for wrong in ["web", "/web", "shop/", "a/b/c", ""] {
            assert!(wrong.parse::<Account>().is_err(), "{wrong}");
        }
    }
}
