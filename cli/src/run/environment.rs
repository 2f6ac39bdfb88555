//! What the program finds in its environment.

use anyhow::bail;
use weft_proxy::Addresses;

/// What is never reached through a proxy: here it would be another machine's. Names and addresses alone, as not every
/// client understands ranges.
const LOCAL: &str = "localhost,127.0.0.1,::1";

/// The variables to set for a program that may listen on `port`. `inherited` is the environment that it gets anyway.
pub(super) fn compose(
    addresses: &Addresses,
    port: Option<u16>,
    asked: &[(String, String)],
    inherited: impl Fn(&str) -> Option<String>,
) -> anyhow::Result<Vec<(String, String)>> {
    let mut variables = Vec::new();
    if let Some(port) = port {
        variables.push(("PORT".to_owned(), port.to_string()));
    }
    if let Some(outbound) = addresses.outbound {
        // Both, because curl reads only the lower case and others only the upper.
        for name in ["HTTP_PROXY", "http_proxy"] {
            variables.push((name.to_owned(), format!("http://{outbound}")));
        }
        for name in ["NO_PROXY", "no_proxy"] {
            let already = inherited(name).filter(|hosts| !hosts.trim().is_empty());
            let hosts = already.map_or_else(|| LOCAL.to_owned(), |already| format!("{already},{LOCAL}"));
            variables.push((name.to_owned(), hosts));
        }
    }
    for (name, value) in asked {
        variables.push((name.clone(), filled(name, value, &addresses.upstreams)?));
    }
    Ok(variables)
}

/// Puts the address of an upstream in the place of each `{host:port}`.
fn filled(name: &str, value: &str, upstreams: &[(String, std::net::SocketAddr)]) -> anyhow::Result<String> {
    let mut rest = value;
    let mut text = String::new();
    while let Some((before, from)) = rest.split_once('{') {
        text.push_str(before);
        let Some((destination, after)) = from.split_once('}') else {
            bail!("--env {name}={value}: the closing brace is missing");
        };
        let Some((_, address)) = upstreams.iter().find(|(known, _)| known == destination) else {
            bail!("--env {name}={value}: there is no --upstream {destination}=...");
        };
        text.push_str(&address.to_string());
        rest = after;
    }
    text.push_str(rest);
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn addresses() -> Addresses {
        Addresses {
            outbound: Some("127.0.0.1:1".parse().unwrap()),
            upstreams: vec![("ratings:9090".to_owned(), "127.0.0.1:2".parse().unwrap())],
            offers: Vec::new(),
            transparent_outbound: None,
            transparent_inbound: None,
            monitor: None,
            admin: "127.0.0.1:3".parse().unwrap(),
        }
    }

    fn composed(addresses: &Addresses, port: Option<u16>, asked: &str) -> anyhow::Result<Vec<String>> {
        let asked: Vec<_> =
            asked.split_once('=').map(|(n, v)| (n.to_owned(), v.to_owned())).into_iter().collect();
        let inherited = |name: &str| (name == "NO_PROXY").then(|| "corp.example".to_owned());
        let variables = compose(addresses, port, &asked, inherited)?;
        Ok(variables.into_iter().map(|(name, value)| format!("{name}={value}")).collect())
    }

    #[test]
    fn the_program_learns_its_port_and_its_proxy() {
        let expected = [
            "PORT=4000",
            "HTTP_PROXY=http://127.0.0.1:1",
            "http_proxy=http://127.0.0.1:1",
            "NO_PROXY=corp.example,localhost,127.0.0.1,::1",
            "no_proxy=localhost,127.0.0.1,::1",
        ];
        assert_eq!(composed(&addresses(), Some(4000), "").unwrap(), expected);
    }

    #[test]
    fn without_an_outbound_listener_the_proxy_variables_are_left_alone() {
        let quiet = Addresses { outbound: None, ..addresses() };
        assert!(composed(&quiet, None, "").unwrap().is_empty());
    }

    #[test]
    fn an_upstream_is_put_where_it_is_named() {
        let quiet = Addresses { outbound: None, ..addresses() };
        let url = "URL=http://{ratings:9090}/x{ratings:9090}";
        assert_eq!(composed(&quiet, None, url).unwrap(), ["URL=http://127.0.0.1:2/x127.0.0.1:2"]);
        for (wrong, said) in [("A={carts:1}", "no --upstream carts:1"), ("A={ratings", "closing brace")] {
            let error = composed(&quiet, None, wrong).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
