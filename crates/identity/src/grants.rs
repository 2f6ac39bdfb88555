//! What the holder of a join token may do besides being who it is: which services it may offer, and at which addresses.

use std::net::IpAddr;

use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use weft_mesh::name::{Identity, ServiceName};

use crate::Error;

/// Ends a grant that is for every name that begins so.
const ANY: char = '*';
/// Most services, and most blocks, of one token: they travel in every handshake.
const MAX: usize = 32;

/// What a token, and every certificate that descends from it, allows. The default is the service that is named as the
/// account, at the address that the workload comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grants {
    /// Names of services in the identity's own namespace; one that ends in `*` stands for all that begin so. `None`: the
    /// one that is named as the account.
    #[serde(rename = "svc", default, skip_serializing_if = "Option::is_none")]
    services: Option<Vec<String>>,
    /// Addresses that the workload may be reached at, besides the one that it comes from.
    #[serde(rename = "net", default, skip_serializing_if = "Vec::is_empty")]
    addresses: Vec<IpNet>,
}

impl Grants {
    /// These services, with `*` at the end of a name for all that begin so, and these addresses. `None`: the service that is
    /// named as the account. Refused with the value that breaks a rule.
    pub fn new(services: Option<Vec<String>>, addresses: Vec<IpNet>) -> Result<Self, Error> {
        let grants = Self { services, addresses };
        grants.check()?;
        Ok(grants)
    }

    /// What a token that someone else wrote may not break either.
    pub(crate) fn check(&self) -> Result<(), Error> {
        let services = self.services.as_deref().unwrap_or_default();
        if services.len() > MAX || self.addresses.len() > MAX {
            return Err(Error::invalid("grants", format!("at most {MAX} services and addresses are taken")));
        }
        services.iter().try_for_each(|service| check_service(service))
    }

    /// Whether an identity with these grants may offer a service of its namespace.
    pub fn allow_service(&self, identity: &Identity, service: &str) -> bool {
        let Some(granted) = &self.services else { return service == identity.service_account() };
        granted.iter().any(|granted| match granted.strip_suffix(ANY) {
            Some(beginning) => service.starts_with(beginning),
            None => service == granted,
        })
    }

    /// Whether an address besides the one that the workload comes from is among those granted.
    pub fn allow_address(&self, address: IpAddr) -> bool {
        self.addresses.iter().any(|block| block.contains(&address))
    }

    /// The services that an identity may offer with these grants, for people.
    pub fn services<'a>(&'a self, identity: &'a Identity) -> Vec<&'a str> {
        match &self.services {
            Some(granted) => granted.iter().map(String::as_str).collect(),
            None => vec![identity.service_account()],
        }
    }

    /// The addresses that are granted besides the workload's own.
    pub fn addresses(&self) -> &[IpNet] {
        &self.addresses
    }
}

fn check_service(service: &str) -> Result<(), Error> {
    // What stands before the `*` is the beginning of a name, so that one more letter makes it a whole one.
    let whole = match service.strip_suffix(ANY) {
        Some(beginning) => format!("{beginning}x"),
        None => service.to_owned(),
    };
    ServiceName::new("default", &whole)
        .map(drop)
        .map_err(|error| Error::invalid("service", error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity() -> Identity {
        "spiffe://cluster.local/ns/shop/sa/reviews".parse().unwrap()
    }

    fn of(services: &[&str]) -> Result<Grants, Error> {
        Grants::new(Some(services.iter().map(ToString::to_string).collect()), Vec::new())
    }

    #[test]
    fn an_identity_may_offer_its_own_name_and_no_other_unless_told() {
        let grants = Grants::default();
        assert!(grants.allow_service(&identity(), "reviews"));
        for other in ["cart", "reviews-v1", "review", ""] {
            assert!(!grants.allow_service(&identity(), other), "{other}");
        }
        assert!(!grants.allow_address([10, 0, 0, 1].into()));
    }

    #[test]
    fn what_is_granted_takes_the_place_of_the_own_name() {
        let grants = of(&["cart", "reviews-*"]).unwrap();
        let allowed = |service: &str| grants.allow_service(&identity(), service);
        assert!(allowed("cart") && allowed("reviews-v1") && allowed("reviews-"));
        assert!(!allowed("reviews") && !allowed("carts") && !allowed("x-reviews-v1"));
        assert!(of(&["*"]).unwrap().allow_service(&identity(), "anything"));
        assert!(!of(&[]).unwrap().allow_service(&identity(), "reviews"));
    }

    #[test]
    fn what_can_be_no_service_is_named() {
        for wrong in ["Cart", "a b", "a*b", "**", ""] {
            let error = of(&[wrong]).unwrap_err().to_string();
            assert!(error.contains("service"), "{error}");
        }
        assert!(of(&["a"; MAX + 1]).unwrap_err().to_string().contains("at most 32"));
    }

    #[test]
    fn addresses_are_granted_by_block() {
        let grants = Grants::new(None, vec!["10.1.0.0/16".parse().unwrap()]).unwrap();
        assert!(grants.allow_address([10, 1, 2, 3].into()));
        assert!(!grants.allow_address([10, 2, 2, 3].into()));
    }
}
