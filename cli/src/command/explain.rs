//! `weft explain`: what would become of a request, and why.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context as _;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use weft_control_plane::preview;
use weft_mesh::name::{Identity, ServicePort, TrustDomain};
use weft_proxy::observe::explain::{Admission, Explanation, Known, Query, explain};
use weft_proxy::snapshot::convert;

use crate::admin::{PROXY_PORT, Place};
use crate::cluster::{Cluster, Kubeconfig, Target, percent_encoded};
use crate::output::{self, Format};
use crate::runtime;
use crate::sidecar::{Sidecar, admin_address};

pub(crate) const EXAMPLES: &str = "\
Examples:
  weft explain GET http://reviews:9080/reviews/1 --from shop/web --config mesh/
      what the YAML in mesh/ makes of it; no control plane has to run

  weft explain POST http://reviews.shop:9080/ -H 'x-user: ada' --proxy 127.0.0.1:15000
      what a running sidecar makes of it, with the endpoints that it knows; without --proxy, the one on this machine

  weft explain GET http://reviews/ --pod deploy/web -n shop
      what the sidecar of a pod makes of it, by port-forward

  weft explain CONNECT db:5432 --from shop/web --config mesh/
      a connection that is not HTTP

  weft explain CONNECT db:443 --server-name db.example --from-address 10.1.2.3 --config mesh/
      a connection of TLS, from an address that policies may speak of

Exit codes:
  0  the request would be sent on, at least in part
  1  the mesh would answer it itself, or the folder or the sidecar can't be asked
  2  wrong usage";

#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Method; CONNECT asks about a connection that is not HTTP
    #[arg(value_name = "METHOD", value_parser = method)]
    method: Method,
    /// What is requested, such as `http://HOST:PORT/PATH`; for CONNECT, HOST:PORT
    #[arg(value_name = "URL", value_parser = uri)]
    url: Uri,
    /// A header field of the request; may be repeated
    #[arg(short = 'H', long = "header", value_name = "NAME: VALUE", value_parser = header)]
    headers: Vec<(HeaderName, HeaderValue)>,
    /// Who asks: namespace and service account
    #[arg(long, value_name = "NAMESPACE/ACCOUNT", default_value = "default/default", requires = "config", value_parser = caller)]
    from: (String, String),
    /// IP address of who asks, for policies on addresses
    #[arg(long, value_name = "ADDRESS")]
    from_address: Option<IpAddr>,
    /// With CONNECT: the server name that the connection asks for by TLS, for TLSRoutes
    #[arg(long, value_name = "NAME")]
    server_name: Option<String>,
    /// Folder of YAML files, as the control plane reads it [default: what the one sidecar on this machine knows]
    #[arg(long, value_name = "DIR", conflicts_with_all = ["proxy", "pod"])]
    config: Option<PathBuf>,
    /// Admin address of a running sidecar; it asks on behalf of its own workload
    #[arg(long, value_name = "ADDRESS", conflicts_with_all = ["from", "pod"], value_parser = admin_address)]
    proxy: Option<SocketAddr>,
    /// Pod whose sidecar is asked: POD, POD.NAMESPACE or deploy/NAME
    #[arg(long, value_name = "TARGET", conflicts_with = "from")]
    pod: Option<Target>,
    /// Namespace of the pod [default: that of the context]
    #[arg(short, long, value_name = "NAME", requires = "pod")]
    namespace: Option<String>,
    /// State folder, which tells what runs on this machine [default: ~/.local/state/weft]
    #[arg(long, value_name = "DIR", env = "WEFT_STATE")]
    state: Option<PathBuf>,
    #[command(flatten)]
    kubeconfig: Kubeconfig,
    /// Trust domain of the caller
    #[arg(long, value_name = "NAME", default_value = "cluster.local")]
    trust_domain: TrustDomain,
    /// How to print it
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    output: Format,
}

fn method(text: &str) -> Result<Method, String> {
    text.parse().map_err(|_| format!("{text:?} is not a method, such as GET"))
}

fn uri(text: &str) -> Result<Uri, String> {
    let uri: Uri = text.parse().map_err(|error| format!("{text:?} is not a URL: {error}"))?;
    if uri.authority().is_none() {
        return Err(format!("{text:?} names no host: write http://HOST:PORT/PATH"));
    }
    match uri.scheme_str() {
        None | Some("http") => Ok(uri),
        Some("https") => {
            Err("what goes through a sidecar as https is opaque to it: ask with CONNECT HOST:PORT".to_owned())
        }
        Some(other) => Err(format!("{other:?} is not http")),
    }
}

fn header(text: &str) -> Result<(HeaderName, HeaderValue), String> {
    let wrong = || format!("{text:?} is not a header: write 'NAME: VALUE'");
    let (name, value) = text.split_once(':').ok_or_else(wrong)?;
    Ok((name.trim().parse().map_err(|_| wrong())?, value.trim().parse().map_err(|_| wrong())?))
}

fn caller(text: &str) -> Result<(String, String), String> {
    match text.split_once('/') {
        Some((namespace, account)) if !namespace.is_empty() && !account.is_empty() => {
            Ok((namespace.to_owned(), account.to_owned()))
        }
        _ => Err(format!("{text:?} is not a caller: write NAMESPACE/ACCOUNT, such as shop/web")),
    }
}

pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    let explanation = match &args.config {
        Some(folder) => offline(args, folder)?,
        None => runtime::on_this_thread(live(args))?,
    };
    let _ = match args.output {
        Format::Text => output::line(&explanation.to_string()),
        Format::Json => output::json(&explanation),
    };
    Ok(if explanation.outcome.sent { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn offline(args: &Args, folder: &Path) -> anyhow::Result<Explanation> {
    let headers: HeaderMap = args.headers.iter().cloned().collect();
    let query = Query {
        method: args.method.clone(),
        uri: args.url.clone(),
        headers,
        server_name: args.server_name.clone(),
        source: args.from_address,
    };
    let name = query.destination().context("the URL has no host")?;
    let (namespace, account) = &args.from;
    let caller = Identity::new(&args.trust_domain, namespace, account)?;
    let found = preview(folder, &name, namespace, &args.trust_domain)?;
    for error in &found.report.errors {
        eprintln!(
            "weft explain: as the control plane would, left out, or closed where it is a policy: {error}"
        );
    }
    for warning in &found.report.warnings {
        eprintln!("weft explain: {warning}");
    }
    for policy in &found.unjudged {
        eprintln!(
            "weft explain: whether {policy} is for the workloads depends on labels that are not known here"
        );
    }
    if !found.assumed.is_empty() {
        let names: Vec<String> = found.assumed.iter().map(ToString::to_string).collect();
        eprintln!("weft explain: taken to be offered by workloads: {}", names.join(", "));
    }
    if let Some(hint) = &found.hint {
        eprintln!("weft explain: the folder has no {name}: {hint}");
    }
    let destination = found
        .destination
        .map(|wire| convert::destination(&name, &wire))
        .transpose()
        .context("a proxy would not take what the folder says")?;
    let inbound = |service: &ServicePort| {
        let of_service = found.inbounds.iter().find(|(known, _)| known == service);
        let (_, wire) = of_service?;
        convert::inbound(wire, &args.trust_domain).ok().map(Into::into)
    };
    Ok(explain(
        &query,
        &Known {
            // Nobody has sent anything yet.
            ejected_by: &|_, _| 0,
            destination: destination.as_ref(),
            // Workloads register while they run.
            endpoints: &|_| None,
            inbound: &inbound,
            caller: Some(&caller),
        },
    ))
}

async fn live(args: &Args) -> anyhow::Result<Explanation> {
    let place = match (args.proxy, &args.pod) {
        (Some(address), _) => Place::Address(address),
        (None, Some(pod)) => {
            let sidecar = Sidecar::of_pod(pod.clone(), args.namespace.clone(), args.kubeconfig.clone());
            sidecar.one("weft explain").await?.place
        }
        (None, None) => {
            let found = Sidecar::here(args.state.clone(), args.kubeconfig.clone()).one("weft explain").await;
            found
                .context(
                    "nothing says what to ask; --config DIR asks a folder, --pod POD a sidecar in Kubernetes",
                )?
                .place
        }
    };
    let encoded = percent_encoded;
    let mut query =
        format!("/explain?method={}&url={}", encoded(args.method.as_str()), encoded(&args.url.to_string()));
    for (name, value) in &args.headers {
        query.push_str("&header=");
        query.push_str(&encoded(&format!("{name}:{}", String::from_utf8_lossy(value.as_bytes()))));
    }
    if let Some(name) = &args.server_name {
        query.push_str("&server-name=");
        query.push_str(&encoded(name));
    }
    if let Some(address) = args.from_address {
        query.push_str("&source=");
        query.push_str(&encoded(&address.to_string()));
    }
    let said = place.open().await?.json(&query).await?;
    let mut explanation: Explanation = serde_json::from_value(said)
        .with_context(|| format!("what answers at {} is not a sidecar of this version", place.title()))?;
    if let Place::Pod { cluster, .. } = &place {
        ask_backends(args, cluster, &mut explanation).await;
    }
    Ok(explanation)
}

/// Asks the sidecar of one endpoint of each backend whether it would let the request in.
async fn ask_backends(args: &Args, cluster: &Cluster, explanation: &mut Explanation) {
    let asked = explanation.backends.iter().filter_map(|backend| {
        let endpoints = backend.endpoints.iter().flatten();
        let endpoint = endpoints.clone().find(|it| it.takes_requests).or(endpoints.clone().next())?;
        let (name, namespace) = endpoint.workload.rsplit_once('.')?;
        let port = endpoint.address.parse::<SocketAddr>().ok()?.port();
        Some((backend.service.clone()?, name.to_owned(), namespace.to_owned(), port))
    });
    for (service, name, namespace, port) in asked.collect::<Vec<_>>() {
        let place = Place::Pod { cluster: cluster.clone(), namespace, name, port: PROXY_PORT };
        let path = args.url.path_and_query().map_or("/", |it| it.as_str());
        let mut query = format!("/admission?method={}", percent_encoded(args.method.as_str()));
        let url = match args.method {
            Method::CONNECT => format!("localhost:{port}"),
            _ => format!("http://localhost:{port}{path}"),
        };
        query.push_str("&url=");
        query.push_str(&percent_encoded(&url));
        if let Some(caller) = &explanation.caller {
            query.push_str("&caller=");
            query.push_str(&percent_encoded(caller));
        }
        if let Some(address) = args.from_address {
            query.push_str("&source=");
            query.push_str(&percent_encoded(&address.to_string()));
        }
        let said = async {
            let said = place.open().await?.json(&query).await?;
            anyhow::Ok(serde_json::from_value::<Admission>(said)?)
        };
        match said.await {
            Ok(admission) => explanation.admit(&service, &admission),
            Err(error) => {
                eprintln!("weft explain: what the policies of {service} say is not known: {error:#}");
            }
        }
    }
}
