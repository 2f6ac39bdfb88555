//! From options to what the sidecar is told.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{bail, ensure};
use weft_identity::JoinToken;
use weft_proxy::config::Proof;
use weft_proxy::{Offer, ProxyConfig};

use crate::command::run::Args;

use super::port;

/// What the sidecar and the program are told.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) proxy: ProxyConfig,
    /// The workload's namespace.
    pub(super) namespace: String,
    /// Port on which the program listens for the sidecar, if it offers something.
    pub(super) application_port: Option<u16>,
}

impl Settings {
    /// `chance` tells workloads apart that are the same in all else.
    pub(super) fn new(args: &Args, token: &JoinToken, chance: u32) -> anyhow::Result<Self> {
        let namespace = token.claims().identity.namespace();
        if let Some(other) = args.namespace.as_deref().filter(|other| *other != namespace) {
            bail!(
                "the token is for namespace {namespace}, not for {other}; leave --namespace off, or take another token"
            );
        }
        let Some(control_plane) = (args.control_plane.as_ref().map(ToString::to_string))
            .or_else(|| token.control_plane().map(str::to_owned))
        else {
            bail!("the token names no control plane; say where it is with --control-plane HOST:PORT");
        };
        ensure!(
            control_plane
                .rsplit_once(':')
                .is_some_and(|(_, port)| port.parse::<u16>().is_ok_and(|port| port > 0)),
            "the control plane {control_plane} has no port; write HOST:PORT, such as 127.0.0.1:15012"
        );
        let application_port = match (args.port, args.app_port) {
            (None, _) => None,
            (Some(_), Some(port)) => Some(port),
            (Some(_), None) => Some(port::free()?),
        };
        let proxy = ProxyConfig {
            workload_id: workload_id(args, chance),
            labels: labels(args),
            control_plane,
            proof: Proof::Token(token.as_str().to_owned()),
            outbound: (!args.no_outbound).then_some(args.outbound),
            upstreams: args.upstreams.clone(),
            services: offer(args, application_port).into_iter().collect(),
            admin: args.admin,
            access_log: args.access_log,
            // Standard output is the program's alone, also when the log is switched on while it runs.
            access_log_file: Some(args.access_log_file.clone().unwrap_or_else(|| "/dev/stderr".into())),
            drain_timeout: args.drain,
            stream_idle: args.stream_idle_timeout,
            application_idle: args.application_idle_timeout,
            ..ProxyConfig::default()
        };
        Ok(Self { proxy, namespace: namespace.to_owned(), application_port })
    }
}

fn workload_id(args: &Args, chance: u32) -> String {
    if let Some(id) = &args.workload_id {
        return id.clone();
    }
    let service = args.service.as_deref().unwrap_or("client");
    let version = args.version.as_ref().map(|version| format!("-{version}")).unwrap_or_default();
    format!("{service}{version}-{chance:08x}")
}

/// The labels that were given, and those that service and version stand for, unless they were given otherwise.
fn labels(args: &Args) -> Vec<(String, String)> {
    let implied = [("app", &args.service), ("version", &args.version)];
    let implied = implied.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value.clone()?)));
    let given = |key: &str| args.labels.iter().any(|(known, _)| known == key);
    implied.filter(|(key, _)| !given(key)).chain(args.labels.iter().cloned()).collect()
}

fn offer(args: &Args, application_port: Option<u16>) -> Option<Offer> {
    let (service, port, application) = (args.service.as_ref()?, args.port?, application_port?);
    // The version is a service too, so that routes can name it.
    let versioned = args.version.as_ref().map(|version| format!("{service}-{version}"));
    Some(Offer {
        services: std::iter::once(service.clone()).chain(versioned).collect(),
        port,
        protocol: args.protocol.unwrap_or_default(),
        listen: args.inbound,
        application: SocketAddr::new(Ipv4Addr::LOCALHOST.into(), application),
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use clap::Parser;
    use weft_identity::{NewToken, TokenIssuer};

    use super::*;

    #[derive(Parser)]
    struct Program {
        #[command(flatten)]
        args: Args,
    }

    fn args(line: &str) -> Args {
        Program::try_parse_from(line.split_whitespace()).unwrap().args
    }

    fn token(control_plane: Option<&str>) -> JoinToken {
        let new = NewToken {
            identity: "spiffe://cluster.local/ns/shop/sa/reviews".parse().unwrap(),
            roots: vec!["ab".repeat(32).parse().unwrap()],
            control_plane: control_plane.map(str::to_owned),
            grants: weft_identity::Grants::default(),
            ttl: Duration::from_hours(1),
        };
        let issuer = TokenIssuer::from_key(&TokenIssuer::generate_key()).unwrap();
        JoinToken::parse(&issuer.mint(&new, SystemTime::now()).unwrap()).unwrap()
    }

    fn settings(line: &str) -> anyhow::Result<Settings> {
        Settings::new(&args(line), &token(Some("10.0.0.1:15012")), 0xab)
    }

    #[test]
    fn a_version_is_a_label_and_a_service_of_its_own() {
        let settings = settings("run --service reviews --version v2 --port 9080 --protocol http").unwrap();
        let proxy = settings.proxy;
        assert_eq!(proxy.workload_id, "reviews-v2-000000ab");
        let label = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(proxy.labels, [label("app", "reviews"), label("version", "v2")]);
        let offer = &proxy.services[0];
        assert_eq!(offer.services, ["reviews", "reviews-v2"]);
        assert_eq!((offer.port, Some(offer.application.port())), (9080, settings.application_port));
        assert_eq!(proxy.control_plane, "10.0.0.1:15012");
    }

    #[test]
    fn a_fixed_application_port_and_labels_are_taken_as_given() {
        let settings =
            settings("run --service a --port 80 --app-port 3000 --label app=b --label x=y").unwrap();
        assert_eq!(settings.application_port, Some(3000));
        let labels: Vec<_> =
            settings.proxy.labels.iter().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!(labels, ["app=b", "x=y"]);
    }

    #[test]
    fn a_client_offers_nothing_and_may_do_without_a_proxy() {
        let settings = settings("run --no-outbound").unwrap();
        assert_eq!((settings.application_port, settings.proxy.outbound), (None, None));
        assert!(settings.proxy.services.is_empty());
    }

    #[test]
    fn a_foreign_namespace_and_an_unknown_control_plane_are_refused() {
        let error = settings("run --namespace other").unwrap_err().to_string();
        assert!(error.contains("namespace shop, not for other"), "{error}");
        let error = Settings::new(&args("run"), &token(None), 0).unwrap_err().to_string();
        assert!(error.contains("--control-plane"), "{error}");
        let error = settings("run --control-plane mesh").unwrap_err().to_string();
        assert!(error.contains("mesh has no port"), "{error}");
    }
}
