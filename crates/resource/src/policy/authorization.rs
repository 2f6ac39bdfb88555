//! AuthorizationPolicy: who may call.

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::{Deserialize, Serialize};

use super::blocks;
use crate::reference::Selector;
use crate::rule::{LABEL, LABEL_EXPECTED, TOKEN, texts};

/// An AuthorizationPolicy's `spec`: who may call the workloads that it selects.
///
/// DENY policies come first; when there are ALLOW policies for a workload, one of them has to match; without any, the
/// MeshPolicy's default decides. AUDIT policies are counted, never enforced.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuthorizationPolicySpec {
    /// The workloads; all of the namespace when left out.
    pub selector: Option<Selector>,
    /// What a match means; `ALLOW` when left out.
    #[serde(default)]
    pub action: Action,
    /// The policy matches when any rule does; without rules it matches nothing.
    #[serde(default)]
    #[schemars(length(max = 512))]
    pub rules: Vec<AuthorizationRule>,
    /// What of the policy can't be read, so that it denies everything; never written down.
    #[serde(skip)]
    pub unreadable: Option<String>,
}

/// What a match means.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Action {
    /// Lets in.
    #[default]
    Allow,
    /// Keeps out.
    Deny,
    /// Is counted.
    Audit,
}

/// A rule: it matches when both `from` and `to` do.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AuthorizationRule {
    /// The caller; anyone when left out.
    pub from: Option<AuthorizationFrom>,
    /// What is called; anything when left out.
    pub to: Option<AuthorizationTo>,
    /// What of the rule can't be read, so that it matches everything where it denies and nothing elsewhere; never written
    /// down.
    #[serde(skip)]
    pub unreadable: Option<String>,
}

/// A caller: every list that is given must hold it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("minProperties" = 1))]
pub struct AuthorizationFrom {
    /// Identities: SPIFFE ids, or `<namespace>/<service account>`.
    #[schemars(schema_with = "identities")]
    pub identities: Vec<String>,
    /// Namespaces.
    #[schemars(schema_with = "namespaces")]
    pub namespaces: Vec<String>,
    /// Addresses, as CIDR blocks.
    #[schemars(schema_with = "ip_blocks")]
    pub ip_blocks: Vec<String>,
}

/// What is called: every list that is given must hold it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
#[schemars(extend("minProperties" = 1))]
pub struct AuthorizationTo {
    /// Ports of the workload.
    #[schemars(length(min = 1, max = 512), inner(range(min = 1, max = 65535)))]
    pub ports: Vec<u16>,
    /// HTTP methods.
    #[schemars(schema_with = "methods")]
    pub methods: Vec<String>,
    /// HTTP paths: exact, or with one `*` at the end or at the start.
    #[schemars(schema_with = "paths")]
    pub paths: Vec<String>,
}

/// Lists of texts: how many there may be, how long each is, and what it looks like. None is empty: a list is left out to
/// say that it does not matter, and one that somebody's template left empty must not say so.
fn some(mut list: Schema) -> Schema {
    list.insert("minItems".to_owned(), 1.into());
    list
}

fn ip_blocks(generator: &mut SchemaGenerator) -> Schema {
    some(blocks::<512>(generator))
}

fn identities(_: &mut SchemaGenerator) -> Schema {
    const PATTERN: &str = "^(spiffe://[a-z0-9._-]{1,255}/ns/[a-z0-9-]{1,63}/sa/[^/]+|[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?/[^/]+)$";
    some(texts(
        512,
        1024,
        PATTERN,
        "<namespace>/<service account> or spiffe://<trust domain>/ns/<namespace>/sa/<service account>",
    ))
}

fn namespaces(_: &mut SchemaGenerator) -> Schema {
    some(texts(512, 63, LABEL, LABEL_EXPECTED))
}

fn methods(_: &mut SchemaGenerator) -> Schema {
    some(texts(64, 64, TOKEN, "a method such as GET"))
}

fn paths(_: &mut SchemaGenerator) -> Schema {
    const EXPECTED: &str = "a path that starts with '/', with one '*' at its end or start at most";
    some(texts(512, 1024, r"^(/[^*]*\*?|\*[^*]*)$", EXPECTED))
}
