//! Parts of schemas: what a cluster can check of our own kinds without asking the control plane.

use schemars::{Schema, json_schema};
use serde_json::{Value, json};

/// A token (RFC 9110, section 5.6.2), such as the name of a header field or a method.
pub(super) const TOKEN: &str = "^[!#$%&'*+.^_`|~0-9A-Za-z-]+$";
/// The same in words.
pub(super) const TOKEN_EXPECTED: &str = "the name of a header field: letters, digits and '-'";
/// An RFC 1123 label.
pub(super) const LABEL: &str = "^[a-z0-9]([a-z0-9-]*[a-z0-9])?$";
/// The same, or nothing.
pub(super) const LABEL_OR_NONE: &str = "^([a-z0-9]([a-z0-9-]*[a-z0-9])?)?$";
/// The same in words.
pub(super) const LABEL_EXPECTED: &str = "at most 63 lower-case letters, digits and '-'";

/// A rule of CEL over a value (`x-kubernetes-validations`), and what is said when it does not hold. Rules have to do with
/// what Kubernetes 1.28 knows.
pub(super) fn rule(expression: &str, message: &str) -> Value {
    json!({ "rule": expression, "message": message })
}

/// A list of texts that match a pattern: how many there may be, and how long each.
pub(super) fn texts(most: usize, longest: usize, pattern: &str, expected: &str) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": most,
        "items": { "type": "string", "minLength": 1, "maxLength": longest, "pattern": pattern, super::schema::EXPECTED: expected },
    })
}
