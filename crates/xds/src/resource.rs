//! Resources as they travel: names, versions by content, and bytes that are encoded once.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use bytes::Bytes;
use envoy_types::pb::envoy::service::discovery::v3::Resource as WireResource;
use envoy_types::pb::google::protobuf::Any;
use prost::Message;
use weft_mesh::hash::stable_hash;

use crate::Error;

/// The last segment of a collection's name.
const GLOB: &str = "*";

/// Whether `name` names a collection: `*` or anything that ends with `/*`.
pub fn is_collection(name: &str) -> bool {
    name.strip_suffix(GLOB).is_some_and(|prefix| prefix.is_empty() || prefix.ends_with('/'))
}

/// The one collection that `name` is a member of: everything up to its last `/`, and then `*`.
///
/// A collection has one level: `a/b/c` belongs to `a/b/*`, not to `a/*`; a name without `/` belongs to `*`.
pub fn collection_of(name: &str) -> String {
    let prefix = name.rfind('/').map_or("", |slash| name.split_at(slash + 1).0);
    [prefix, GLOB].concat()
}

/// The version of a resource: a hash of its content, so that equal content has an equal version whichever
/// replica of the server encoded it, before and after a restart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Version(u64);

impl Version {
    /// What a client holds when it tells of a version that this crate did not write: equal to no content's
    /// version, but for one in 2^64.
    pub(crate) const FOREIGN: Self = Self(0);

    /// The version of these bytes.
    ///
    /// The bytes have to be a function of the meaning: a message with a map has to be encoded from a sorted one.
    pub fn of(content: &[u8]) -> Self {
        Self(stable_hash(content))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl FromStr for Version {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self, Error> {
        let invalid = || Error::Version { text: text.to_owned() };
        if text.len() != 16 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(invalid());
        }
        u64::from_str_radix(text, 16).map(Self).map_err(|_| invalid())
    }
}

/// A resource that was encoded once and is shared by everyone it is sent to.
#[derive(Clone, PartialEq, Eq)]
pub struct EncodedResource {
    name: Arc<str>,
    version: Version,
    /// An encoded `envoy.service.discovery.v3.Resource`.
    wire: Bytes,
}

impl EncodedResource {
    /// Encodes a message as the resource `name`.
    pub fn new(type_url: &str, name: impl Into<Arc<str>>, message: &impl Message) -> Self {
        Self::from_content(type_url, name, message.encode_to_vec())
    }

    /// Takes a message that is encoded already.
    pub fn from_content(type_url: &str, name: impl Into<Arc<str>>, content: Vec<u8>) -> Self {
        let name = name.into();
        let version = Version::of(&content);
        let any = Any { type_url: type_url.to_owned(), value: content };
        Self::wrap(name, version, Some(any))
    }

    /// What tells that every member of a collection has been sent: its name, a version and no content.
    pub(crate) fn complete(collection: Arc<str>) -> Self {
        Self::wrap(collection, Version::of(&[]), None)
    }

    fn wrap(name: Arc<str>, version: Version, resource: Option<Any>) -> Self {
        let wire = WireResource {
            name: name.to_string(),
            version: version.to_string(),
            resource,
            ..Default::default()
        };
        Self { name, version, wire: wire.encode_to_vec().into() }
    }

    /// The name that clients subscribe to, or that is inside a collection that they subscribe to.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// The hash of the content.
    pub fn version(&self) -> Version {
        self.version
    }

    /// The encoded `envoy.service.discovery.v3.Resource`, without the length before it.
    pub fn wire(&self) -> &Bytes {
        &self.wire
    }
}

impl fmt::Debug for EncodedResource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EncodedResource")
            .field("name", &self.name)
            .field("version", &format_args!("{}", self.version))
            .field("bytes", &self.wire.len())
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_collection_has_one_level() {
        assert_eq!(collection_of("default/web:80/10.0.0.1:8080"), "default/web:80/*");
        assert_eq!(collection_of("web"), "*");
        assert_eq!(collection_of("a/"), "a/*");
        assert!(is_collection("default/web:80/*"));
        assert!(is_collection("*"));
        assert!(!is_collection("default/web*"));
        assert!(!is_collection("default/*/web"));
        assert!(!is_collection(""));
    }

    #[test]
    fn a_version_is_a_function_of_the_content_alone() {
        let first = EncodedResource::from_content("t", "a", b"content".to_vec());
        let same = EncodedResource::from_content("t", "b", b"content".to_vec());
        let other = EncodedResource::from_content("t", "a", b"contents".to_vec());
        assert_eq!(first.version(), same.version());
        assert_ne!(first.version(), other.version());
    }

    #[test]
    fn a_version_is_read_as_it_is_written() {
        let version = Version::of(b"x");
        assert_eq!(version.to_string().parse::<Version>().unwrap(), version);
        for foreign in ["", "1", "+00000000000000f", "00000000000000000", "gggggggggggggggg"] {
            assert!(foreign.parse::<Version>().is_err(), "{foreign}");
        }
    }

    #[test]
    fn the_wire_form_is_a_discovery_resource() {
        let encoded = EncodedResource::from_content("type", "name", b"content".to_vec());
        let decoded = WireResource::decode(encoded.wire().clone()).unwrap();
        assert_eq!(decoded.name, "name");
        assert_eq!(decoded.version, encoded.version().to_string());
        assert_eq!(decoded.resource, Some(Any { type_url: "type".into(), value: b"content".to_vec() }));
    }
}
