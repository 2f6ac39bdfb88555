//! What can be typed.

use std::process::ExitCode;

use clap::builder::Styles;
use clap::builder::styling::AnsiColor;
use clap::{Parser, Subcommand};

use crate::command::{
    check, completions, config, control_plane, demo, example, explain, get, guard, identity, inject, install,
    logs, man, proxy, ps, run, token, top, uninstall, upgrade,
};

const STYLES: Styles = Styles::styled()
    .header(AnsiColor::BrightCyan.on_default().bold())
    .usage(AnsiColor::BrightCyan.on_default().bold())
    .literal(AnsiColor::BrightGreen.on_default())
    .placeholder(AnsiColor::Cyan.on_default());

const EXAMPLES: &str = "\
Examples:
  weft demo                                   a whole mesh on this machine, with traffic, live in the terminal
  weft control-plane --config mesh/           routes and policies from the YAML in mesh/
  weft run --service web --port 8080 -- ./web a program with a sidecar beside it
  weft run -- curl http://web:8080/           one request through the mesh
  weft ps                                     what runs on this machine, and where
  weft top                                    requests between what the local control plane knows, live
  weft check mesh/                            what is wrong in the YAML, before it is used
  weft explain GET http://web:8080/ --config mesh/   what would become of a request, and why
  weft install | kubectl apply -f -           the mesh in a Kubernetes cluster
  weft check --wait 2m                        whether everything in the cluster works
  weft top ns/shop                            requests between its pods, live

Exit codes:
  0  all went well
  1  it did not, and the last line on stderr says why
  2  wrong usage
  `weft run` ends as its command does; see `weft run --help`";

/// Weft, a service mesh: mTLS, routes, splits and resilience for every service, without changing its code.
#[derive(Debug, Parser)]
#[command(name = "weft", version, styles = STYLES, after_help = EXAMPLES, max_term_width = 110)]
pub(crate) struct Weft {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show a whole mesh at work on this machine: services, sidecars, load, and what goes wrong without losing requests
    #[command(after_help = demo::EXAMPLES)]
    Demo(demo::Args),
    /// Run a program with a sidecar beside it
    #[command(after_help = run::EXAMPLES)]
    Run(Box<run::Args>),
    /// List what runs on this machine: programs with a sidecar beside them, and the control plane
    #[command(after_help = ps::EXAMPLES)]
    Ps(ps::Args),
    /// Run a control plane: routes, identities and endpoints for all sidecars
    #[command(after_help = control_plane::EXAMPLES)]
    ControlPlane(control_plane::Args),
    /// Run a sidecar by itself, as a container or a VM does
    #[command(after_help = proxy::EXAMPLES)]
    Proxy(Box<proxy::Args>),
    /// Give the pods of manifests their sidecars, without a webhook
    #[command(after_help = inject::EXAMPLES)]
    Inject(inject::Args),
    /// Lead the connections of this machine, or network namespace, to its proxy
    #[command(subcommand)]
    Redirect(weft_redirect::command::Command),
    /// Check a cluster, or a folder of resources as the control plane would read it
    #[command(after_help = check::EXAMPLES)]
    Check(Box<check::Args>),
    /// Say what would become of a request, and why
    #[command(after_help = explain::EXAMPLES)]
    Explain(Box<explain::Args>),
    /// Print what to apply to a Kubernetes cluster
    #[command(after_help = install::EXAMPLES)]
    Install(install::Args),
    /// Print what to apply to a cluster that has an earlier version, or the same with other values
    #[command(after_help = upgrade::EXAMPLES)]
    Upgrade(Box<upgrade::Args>),
    /// Print what to delete from a cluster so that nothing of the mesh is left
    #[command(after_help = uninstall::EXAMPLES)]
    Uninstall(uninstall::Args),
    /// Show requests between workloads, as they are now
    #[command(after_help = top::EXAMPLES)]
    Top(top::Args),
    /// Show what a sidecar knows: destinations, routes, endpoints, listeners, certificates
    #[command(after_help = get::EXAMPLES)]
    Get(get::Args),
    /// Show the log of sidecars, and change what is in it
    #[command(after_help = logs::EXAMPLES)]
    Logs(logs::Args),
    /// Print the whole configuration that a sidecar works by
    #[command(after_help = config::EXAMPLES)]
    Config(config::Args),
    /// Make tokens with which sidecars join the mesh, and revoke them
    #[command(subcommand)]
    Token(token::Command),
    /// Revoke an identity: nobody believes any more what it shows
    #[command(subcommand)]
    Identity(identity::Command),
    /// Run one of the example services by itself
    #[command(subcommand)]
    Example(weft_examples::Program),
    /// Print the completions for a shell
    #[command(after_help = completions::EXAMPLES)]
    Completions(completions::Args),
    /// Write the manual pages of all commands
    #[command(after_help = man::EXAMPLES)]
    Man(man::Args),
    #[command(hide = true)]
    Guard(guard::Args),
}

impl Command {
    /// What errors are said in the name of.
    pub(crate) fn name(&self) -> &'static str {
        match self {
            Self::Demo(_) => "weft demo",
            Self::Run(_) => "weft run",
            Self::Ps(_) => "weft ps",
            Self::ControlPlane(_) => "weft control-plane",
            Self::Proxy(_) => "weft proxy",
            Self::Inject(_) => "weft inject",
            Self::Redirect(_) => "weft redirect",
            Self::Check(_) => "weft check",
            Self::Explain(_) => "weft explain",
            Self::Install(_) => "weft install",
            Self::Upgrade(_) => "weft upgrade",
            Self::Uninstall(_) => "weft uninstall",
            Self::Top(_) => "weft top",
            Self::Get(_) => "weft get",
            Self::Logs(_) => "weft logs",
            Self::Config(_) => "weft config",
            Self::Token(_) => "weft token",
            Self::Identity(_) => "weft identity",
            Self::Example(_) => "weft example",
            Self::Completions(_) => "weft completions",
            Self::Man(_) => "weft man",
            Self::Guard(_) => "weft guard",
        }
    }

    pub(crate) fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::Demo(args) => demo::run(args),
            Self::Run(args) => run::run(*args),
            Self::Ps(args) => ps::run(&args),
            Self::ControlPlane(args) => control_plane::run(args),
            Self::Proxy(args) => proxy::run(*args),
            Self::Inject(args) => inject::run(&args),
            Self::Redirect(command) => redirect(&command),
            Self::Check(args) => check::run(&args),
            Self::Explain(args) => explain::run(&args),
            Self::Install(args) => install::run(&args),
            Self::Upgrade(args) => upgrade::run(&args),
            Self::Uninstall(args) => uninstall::run(&args),
            Self::Top(args) => top::run(&args),
            Self::Get(args) => get::run(&args),
            Self::Logs(args) => logs::run(&args),
            Self::Config(args) => config::run(&args),
            Self::Token(command) => token::run(command),
            Self::Identity(command) => identity::run(command),
            Self::Example(program) => example::run(program),
            Self::Completions(args) => Ok(completions::run(&args)),
            Self::Man(args) => man::run(&args).map(|()| ExitCode::SUCCESS),
            Self::Guard(args) => guard::run(&args),
        }
    }
}

fn redirect(command: &weft_redirect::command::Command) -> anyhow::Result<ExitCode> {
    for line in weft_redirect::command::run(command)? {
        // Whoever reads it may have gone.
        let _ = crate::output::line(&line);
    }
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory as _;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Weft::command().debug_assert();
    }

    #[test]
    fn every_command_that_people_see_has_examples() {
        for command in Weft::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let nested: Vec<_> = command.get_subcommands().collect();
            let shown = if nested.is_empty() { vec![command] } else { nested };
            // The programs of the examples have a README of their own.
            for command in shown.into_iter().filter(|_| command.get_name() != "example") {
                let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
                assert!(help.contains("Examples:"), "{} has no examples", command.get_name());
            }
        }
    }

    #[test]
    fn what_is_typed_is_understood() {
        for line in [
            "weft demo --for 30s --scenario canary --output json --rate 80",
            "weft control-plane --config mesh --listen 127.0.0.1:0",
            "weft run --service reviews --version v2 --port 9080 --upstream ratings:9090=0 -- ./reviews --version v2",
            "weft run -- curl http://web:8080/",
            "weft check mesh --output json",
            "weft check --pre --set controlPlane.replicas=3",
            "weft check --wait 2m --output json --context test",
            "weft explain GET http://web:8080/ -H a:b --from shop/web --config mesh --output json",
            "weft explain CONNECT db:5432 --proxy 127.0.0.1:15000",
            "weft explain GET http://web/ --pod deploy/web -n shop",
            "weft ps --output json",
            "weft top",
            "weft top --interval 20s",
            "weft top --proxy http://127.0.0.1:15000/",
            "weft get",
            "weft get endpoints",
            "weft get all --proxy localhost:15000",
            "weft top ns/shop --once --output json",
            "weft get endpoints web-1.shop --context test",
            "weft get all --proxy 127.0.0.1:15000",
            "weft logs deploy/web -n shop -f --level debug --tail 5 --since 10m",
            "weft config deploy/web --output yaml",
            "weft install --set controlPlane.replicas=3 -f mesh.yaml --set-string image.tag=1",
            "weft upgrade --set controlPlane.replicas=3 --diff --output json",
            "weft upgrade --prune --reset-values --context test",
            "weft uninstall --crds --force",
            "weft token create --identity shop/web --ttl 1h",
            "weft token create --identity shop/web --service web,web-* --address 10.0.0.0/8",
            "weft token revoke abc --state dir",
            "weft token list --kubernetes --context test",
            "weft identity revoke spiffe://cluster.local/ns/shop/sa/web --kubernetes",
            "weft identity restore shop/web",
            "weft identity list --output json",
            "weft example reviews --version v3",
            "weft completions fish",
        ] {
            let parsed = Weft::try_parse_from(line.split_whitespace());
            assert!(parsed.is_ok(), "{line}: {}", parsed.unwrap_err());
        }
    }

    #[test]
    fn wrong_usage_names_what_is_wrong() {
        for (line, named) in [
            ("weft demo --for soon", "soon"),
            ("weft demo --scenario chaos", "chaos"),
            ("weft run --port 80 -- x", "--service"),
            ("weft run --service Web --port 80 -- x", "Web"),
            ("weft run --service web --port 0 -- x", "0"),
            ("weft token create --identity web", "web"),
            ("weft token create --identity shop/web --service Web", "Web"),
            ("weft token create --identity shop/web --address here", "here"),
            ("weft token revoke a.b", "a.b"),
            ("weft identity revoke web", "web"),
            ("weft identity list --kubernetes --state x", "--state"),
            ("weft explain GET /x --config mesh", "names no host"),
            ("weft explain GET http://web/ --from web --config mesh", "NAMESPACE/ACCOUNT"),
            ("weft explain GET http://web/ --from shop/web", "--config"),
            ("weft get web-1.shop", "endpoints"),
            ("weft top --proxy https://127.0.0.1:15000", "no TLS"),
            ("weft get all --proxy http://web:15000", "127.0.0.1:15000"),
            ("weft get all --proxy 15000", "127.0.0.1:15000"),
            ("weft top widget/web", "widget"),
            ("weft config web/", "web"),
            ("weft top deploy/web --interval 1ms", "at least"),
            ("weft upgrade --output json", "--diff"),
            ("weft upgrade --diff --prune", "--prune"),
            ("weft check mesh --pre", "--pre"),
            ("weft check mesh --context test", "--context"),
            ("weft check --wait soon", "soon"),
            ("weft frobnicate", "frobnicate"),
        ] {
            let error = Weft::try_parse_from(line.split_whitespace()).unwrap_err();
            assert_eq!(error.exit_code(), 2);
            assert!(error.to_string().contains(named), "{line}: {error}");
        }
    }
}
