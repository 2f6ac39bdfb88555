//! A port that the workload offers, on the command line.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::str::FromStr;

use weft_mesh::protocol::Protocol;

use crate::config::Offer;

/// A port that the workload offers, as `--service` says it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceArg(pub Offer);

/// A text that is not a service.
#[derive(Debug, thiserror::Error)]
#[error(
    "{value:?} is not a service: {problem}. Write NAME:PORT[/PROTOCOL]=APPLICATION[@LISTEN], such as reviews:9080/http=127.0.0.1:8080@0.0.0.0:19080"
)]
pub struct ServiceError {
    value: String,
    problem: String,
}

impl FromStr for ServiceArg {
    type Err = ServiceError;

    fn from_str(text: &str) -> Result<Self, ServiceError> {
        let wrong = |problem: String| ServiceError { value: text.to_owned(), problem };
        let (service, addresses) =
            text.split_once('=').ok_or_else(|| wrong("the \"=\" is missing".into()))?;
        let (names, port) =
            service.split_once(':').ok_or_else(|| wrong(format!("{service:?} has no port")))?;
        let (port, protocol) = port.split_once('/').unwrap_or((port, "detect"));
        let port = port.parse().ok().filter(|port| *port != 0);
        let port = port.ok_or_else(|| wrong("its port is not from 1 to 65535".into()))?;
        let services: Vec<String> = names.split(',').map(str::to_owned).collect();
        if services.iter().any(String::is_empty) {
            return Err(wrong("it has no name".into()));
        }
        let (application, listen) = addresses.split_once('@').unwrap_or((addresses, "0"));
        let application = address(application).ok_or_else(|| {
            wrong(format!("{application:?}, where the application listens, is neither IP:PORT nor a port"))
        })?;
        let listen = address(listen).ok_or_else(|| {
            wrong(format!("{listen:?}, where the proxy is to listen, is neither IP:PORT nor a port"))
        })?;
        let protocol = match protocol {
            "detect" => Protocol::Detect,
            "http" | "http1" => Protocol::Http1,
            "http2" | "h2c" => Protocol::Http2,
            "grpc" => Protocol::Grpc,
            "tcp" => Protocol::Tcp,
            "tls" | "https" => Protocol::Tls,
            other => {
                let known = "detect, http, http2, grpc, tcp or tls";
                return Err(wrong(format!("{other:?} is not a protocol: {known}")));
            }
        };
        Ok(Self(Offer { services, port, protocol, listen, application }))
    }
}

/// An address; a port alone is on loopback.
fn address(text: &str) -> Option<SocketAddr> {
    match text.parse::<u16>() {
        Ok(port) => Some(SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)),
        Err(_) => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_names_port_protocol_and_addresses() {
        let ServiceArg(offer) = "reviews,reviews-v2:9080/grpc=8080@0.0.0.0:19080".parse().unwrap();
        assert_eq!(offer.services, ["reviews", "reviews-v2"]);
        assert_eq!((offer.port, offer.protocol), (9080, Protocol::Grpc));
        assert_eq!(offer.application, "127.0.0.1:8080".parse().unwrap());
        assert_eq!(offer.listen, "0.0.0.0:19080".parse().unwrap());
        let ServiceArg(offer) = "db:5432=[::1]:5432".parse().unwrap();
        assert_eq!((offer.protocol, offer.listen), (Protocol::Detect, "127.0.0.1:0".parse().unwrap()));
        assert_eq!(offer.application, "[::1]:5432".parse().unwrap());
    }

    #[test]
    fn a_wrong_service_is_refused_with_what_is_wrong() {
        for (text, problem) in [
            ("reviews:9080", "the \"=\" is missing"),
            ("reviews=8080", "has no port"),
            (":9080=8080", "has no name"),
            ("reviews:0=8080", "from 1 to 65535"),
            ("reviews:80/smtp=8080", "\"smtp\" is not a protocol"),
            ("reviews:80=here", "neither IP:PORT nor a port"),
            ("reviews:80=8080@there", "neither IP:PORT nor a port"),
        ] {
            let error = text.parse::<ServiceArg>().unwrap_err().to_string();
            assert!(error.contains(problem) && error.contains(text), "{error}");
        }
    }
}
