//! Who may claim which names and addresses.
//!
//! An address belongs to the pod that has it, or to the Service whose ClusterIP it is. What resources say of an address
//! beyond that (an EndpointSlice that somebody wrote by hand, an ExternalService) is a claim: it is for callers of the
//! resource's own namespace, and of other namespaces only where it is exported and taken.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use weft_mesh::name::{ServiceName, ServicePort};

use super::service::Claim;
use super::workload::set_in;
use super::{Changes, DependencyKey, Endpoint, EndpointId, Index, Origin, Pod};
use weft_resource::{Age, Key, Object, SliceEndpoint, Spec};

/// How it is known who is at an endpoint's address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Standing {
    /// A pod has the address.
    Pod,
    /// The workload registered with it.
    Registered,
    /// A resource says so, of an address that no pod has.
    Claimed,
    /// It is not known, and so proxies are not told of the endpoint.
    Withheld(Withheld),
}

/// Why proxies are not told of an endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Withheld {
    /// Its pod is not known, or is another one than is meant, or does not have the address.
    PodUnknown,
    /// A pod was there, and is gone: who has the address next has not been told.
    PodGone,
    /// The address is that of a pod of another namespace.
    ForeignPod,
    /// It is said to be outside the mesh, and has the address of a pod or a Service.
    InMesh,
}

/// What is to be done about it follows what is wrong.
impl fmt::Display for Withheld {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::PodUnknown => {
                "waits for its pod: none of that name, uid and address is known, and so not whether it takes mTLS; \
                 an EndpointSlice that is written by hand names a pod that has the address, or leaves targetRef out"
            }
            Self::PodGone => {
                "waits: the pod that had this address is gone, and nothing says who has it now; remove the address, \
                 or write it anew"
            }
            Self::ForeignPod => {
                "is the address of a pod of another namespace, which is not this one's to give; send requests to a \
                 Service of that namespace"
            }
            Self::InMesh => {
                "is the address of a pod or a Service, which an ExternalService can't have; send requests to the Service"
            }
        })
    }
}

impl Standing {
    /// Of several that say something about one endpoint the least counts: who is known to be there, then that it is not
    /// known.
    pub(super) fn rank(self) -> u8 {
        match self {
            Self::Pod => 0,
            Self::Withheld(_) => 1,
            Self::Registered => 2,
            Self::Claimed => 3,
        }
    }
}

/// Who is behind an endpoint of an EndpointSlice.
pub(super) enum Behind<'a> {
    Pod(&'a Arc<Pod>),
    /// Nobody in the mesh.
    Nobody,
    Unknown(Withheld),
}

impl Index {
    /// Who is behind an endpoint of a slice of this namespace. An endpoint that names its pod is the pod's if the pod has
    /// the address; one that names none may still have the address of one.
    pub(super) fn behind(&self, endpoint: &SliceEndpoint, ip: IpAddr, namespace: &str) -> Behind<'_> {
        // Where no pods are known, as in files, there is nothing to wait for.
        if !self.watches_pods {
            return Behind::Nobody;
        }
        let Some(target) = endpoint.target_ref.as_ref().filter(|target| target.is_pod()) else {
            let mut owners = self.owners(ip);
            return match (owners.next(), owners.next()) {
                (None, _) => Behind::Nobody,
                (Some(pod), None) if pod.identity.namespace() == namespace => Behind::Pod(pod),
                (Some(_), None) => Behind::Unknown(Withheld::ForeignPod),
                // One of them is about to go.
                (Some(_), Some(_)) => Behind::Unknown(Withheld::PodUnknown),
            };
        };
        if target.namespace.as_deref().is_some_and(|other| other != namespace) {
            return Behind::Unknown(Withheld::ForeignPod);
        }
        let name = target.name.as_deref().unwrap_or_default();
        let pod = self.pods.get(&*Pod::id(namespace, name));
        let same = |pod: &&Arc<Pod>| {
            target.uid.as_deref().is_none_or(|uid| *pod.uid == *uid) && pod.ips.contains(&ip)
        };
        pod.filter(same).map_or(Behind::Unknown(Withheld::PodUnknown), Behind::Pod)
    }

    /// The pods that have an address of their own.
    fn owners(&self, ip: IpAddr) -> impl Iterator<Item = &Arc<Pod>> {
        self.pods_at.get(&ip).into_iter().flatten().filter_map(|id| self.pods.get(id))
    }

    /// Whether an address is a pod's or a Service's.
    pub(super) fn is_in_mesh(&self, ip: IpAddr) -> bool {
        self.is_pod(ip) || self.ips.contains_key(&ip)
    }

    /// Whether an address is that of a pod, and of nothing else.
    pub(crate) fn is_pod(&self, ip: IpAddr) -> bool {
        self.pods_at.contains_key(&ip)
    }

    /// Whether an address is that of a node.
    pub(crate) fn is_node(&self, ip: IpAddr) -> bool {
        self.nodes_at.contains_key(&ip)
    }

    /// Notes whose an address is. Gives the addresses that a pod has or had for its own.
    pub(super) fn set_pod_ips(
        &mut self,
        old: Option<&Pod>,
        new: Option<&Pod>,
        changes: &mut Changes,
    ) -> BTreeSet<IpAddr> {
        let own = |pod: Option<&Pod>| -> BTreeSet<IpAddr> {
            pod.map(|pod| pod.own_ips().iter().copied().collect()).unwrap_or_default()
        };
        let nodes = |pod: Option<&Pod>| -> BTreeSet<IpAddr> {
            pod.map(|pod| pod.node_ips.iter().copied().collect()).unwrap_or_default()
        };
        for (pod, present) in [(old, false), (new, true)] {
            let Some(pod) = pod else { continue };
            for ip in own(Some(pod)) {
                set_in(&mut self.pods_at, &ip, &pod.id, present);
            }
            for ip in nodes(Some(pod)) {
                set_in(&mut self.nodes_at, &ip, &pod.id, present);
            }
        }
        for ip in own(old).symmetric_difference(&own(new)).chain(nodes(old).symmetric_difference(&nodes(new)))
        {
            changes.dependency(DependencyKey::Ip(*ip));
        }
        own(old).into_iter().chain(own(new)).collect()
    }

    /// Notes which addresses a resource speaks of without naming a pod.
    pub(super) fn link_addresses(&mut self, old: Option<&Arc<Object>>, new: Option<&Arc<Object>>) {
        for (object, present) in [(old, false), (new, true)] {
            let Some(object) = object else { continue };
            for ip in claimed(&object.spec) {
                set_in(&mut self.claimants, &ip, &object.key, present);
            }
        }
    }

    /// The ExternalServices that claim a host name, with since when.
    pub(crate) fn claiming(&self, host: &str) -> impl Iterator<Item = (&ServiceName, &Age)> {
        let names = self.hosts.get(host).into_iter().flatten();
        names.filter_map(|name| Some((name, &self.claim(name)?.age)))
    }

    /// The namespaces that an ExternalService is exported to; none of any other service.
    pub(crate) fn export_to(&self, name: &ServiceName) -> &[String] {
        self.claim(name).map_or(&[], |claim| claim.export_to.as_slice())
    }

    fn claim(&self, name: &ServiceName) -> Option<&Claim> {
        self.services.get(name)?.claim.as_ref()
    }

    /// The endpoints at an address, those that proxies are not told of among them.
    pub(crate) fn at(&self, address: SocketAddr) -> impl Iterator<Item = (&ServicePort, &Arc<Endpoint>)> {
        let places = self.addresses.get(&address).into_iter().flatten();
        places.filter_map(|at| Some((&at.0, &self.claims_of(at).first()?.1)))
    }

    /// The endpoints that proxies are not told of, with the resource that gives them, and why.
    pub(crate) fn withheld(
        &self,
    ) -> impl Iterator<Item = (&(ServicePort, EndpointId), &Key, &Arc<Endpoint>, Withheld)> {
        self.withheld.iter().filter_map(|at| {
            let (origin, endpoint) = self.claims_of(at).first()?;
            match (origin, endpoint.standing) {
                (Origin::Object(key), Standing::Withheld(why)) => Some((at, key, endpoint, why)),
                _ => None,
            }
        })
    }
}

/// The addresses that a resource speaks of without naming a pod.
fn claimed(spec: &Spec) -> BTreeSet<IpAddr> {
    match spec {
        Spec::EndpointSlice(slice) => {
            let by_hand = slice
                .endpoints
                .iter()
                .filter(|endpoint| endpoint.target_ref.as_ref().is_none_or(|target| !target.is_pod()));
            by_hand.filter_map(|endpoint| endpoint.addresses.first()?.parse().ok()).collect()
        }
        Spec::ExternalService(external) => {
            external.endpoints.iter().filter_map(|endpoint| endpoint.address.parse().ok()).collect()
        }
        _ => BTreeSet::new(),
    }
}
