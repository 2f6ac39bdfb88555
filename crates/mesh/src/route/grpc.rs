//! Matches of a GRPCRoute, as matches on the path `/<service>/<method>`.

use super::{HttpMatch, PathMatch};
use crate::Error;
use crate::pattern::Pattern;

/// Which methods of which services (`GRPCMethodMatch`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GrpcMatch<'a> {
    /// The service, with its package.
    pub service: Option<NameMatch<'a>>,
    /// The method.
    pub method: Option<NameMatch<'a>>,
}

/// A name, or an expression that the whole name matches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NameMatch<'a> {
    /// The name is this one.
    Exact(&'a str),
    /// The name matches.
    Regex(&'a str),
}

impl GrpcMatch<'_> {
    /// The same as a match on the path; header conditions are added to it.
    ///
    /// The order of paths gives Gateway API's precedence for a GRPCRoute: service and method together, then a service,
    /// then a method, then expressions, then what matches everything.
    pub fn compile(&self) -> Result<HttpMatch, Error> {
        let path = match (self.service.filter(is_given), self.method.filter(is_given)) {
            (None, None) => PathMatch::Any,
            (Some(NameMatch::Exact(service)), None) => {
                PathMatch::Prefix(format!("/{}", service_name(service)?).into())
            }
            (None, Some(NameMatch::Exact(method))) => PathMatch::GrpcMethod(method_name(method)?.into()),
            (Some(NameMatch::Exact(service)), Some(NameMatch::Exact(method))) => {
                PathMatch::Exact(format!("/{}/{}", service_name(service)?, method_name(method)?).into())
            }
            (service, method) => {
                PathMatch::regex(&format!("/(?:{})/(?:{})", expression(service)?, expression(method)?))?
            }
        };
        Ok(HttpMatch::path(path))
    }
}

/// An empty name is as good as none (`GRPCMethodMatch.service`, `GRPCMethodMatch.method`).
fn is_given(name: &NameMatch<'_>) -> bool {
    let (NameMatch::Exact(name) | NameMatch::Regex(name)) = name;
    !name.is_empty()
}

/// An expression for one element of the path.
fn expression(name: Option<NameMatch<'_>>) -> Result<String, Error> {
    match name {
        None => Ok("[^/]+".to_owned()),
        Some(NameMatch::Exact(name)) => Ok(name.replace('.', "\\.")),
        // Compiled alone first, so that it can't reach over into the other element.
        Some(NameMatch::Regex(source)) => Pattern::new(source).map(|_| source.to_owned()),
    }
}

fn service_name(name: &str) -> Result<&str, Error> {
    // The standard lets a name begin with '.', as protobuf writes names that are complete.
    if name.strip_prefix('.').unwrap_or(name).split('.').all(is_identifier) {
        return Ok(name);
    }
    Err(Error::invalid("gRPC service", name, "write the package and name, such as shop.v1.Cart"))
}

fn method_name(name: &str) -> Result<&str, Error> {
    if is_identifier(name) {
        return Ok(name);
    }
    Err(Error::invalid("gRPC method", name, "write the method's name, such as AddItem"))
}

fn is_identifier(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn path(service: Option<NameMatch<'_>>, method: Option<NameMatch<'_>>) -> PathMatch {
        GrpcMatch { service, method }.compile().unwrap().path
    }

    #[test]
    fn services_and_methods_become_paths() {
        use NameMatch::{Exact, Regex};
        assert_eq!(path(Some(Exact("a.B")), Some(Exact("C"))), PathMatch::Exact("/a.B/C".into()));
        assert_eq!(path(Some(Exact("a.B")), None), PathMatch::Prefix("/a.B".into()));
        let method = path(None, Some(Exact("C")));
        assert!(
            method.matches("/a.B/C")
                && !method.matches("/a.B/D")
                && !method.matches("/C")
                && !method.matches("/x/y/C")
        );
        let regex = path(Some(Regex("a\\.(B|C)")), None);
        assert!(
            regex.matches("/a.B/x")
                && regex.matches("/a.C/y")
                && !regex.matches("/axB/x")
                && !regex.matches("/a.B")
        );
        let mixed = path(Some(Exact("a.B")), Some(Regex("Get.*")));
        assert!(mixed.matches("/a.B/GetX") && !mixed.matches("/axB/GetX") && !mixed.matches("/a.B/PutX"));
        assert_eq!(path(None, None), PathMatch::Any);
    }

    #[test]
    fn an_empty_name_is_as_good_as_none() {
        use NameMatch::{Exact, Regex};
        assert_eq!(path(Some(Exact("a.B")), Some(Exact(""))), PathMatch::Prefix("/a.B".into()));
        assert_eq!(path(Some(Exact("")), Some(Exact("C"))), PathMatch::GrpcMethod("C".into()));
        assert_eq!(path(Some(Regex("")), Some(Regex(""))), PathMatch::Any);
        let method = path(Some(Regex("")), Some(Regex("Get.*")));
        assert!(method.matches("/a.B/GetX") && !method.matches("/a.B/PutX"));
    }

    #[test]
    fn malformed_names_are_refused() {
        for (service, method) in [("a/b", "C"), ("a.", "C"), ("..a", "C"), ("a.B", "1C"), ("a.B", "C.D")] {
            let service = Some(NameMatch::Exact(service));
            assert!(GrpcMatch { service, method: Some(NameMatch::Exact(method)) }.compile().is_err());
        }
        assert!(GrpcMatch { service: Some(NameMatch::Regex("a)(b")), method: None }.compile().is_err());
    }
}
