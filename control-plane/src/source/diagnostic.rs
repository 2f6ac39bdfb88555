//! A problem with the place in a file where it is.

use std::fmt;

use serde::Serialize;

use weft_resource::{Key, Problem, Severity};

/// Something wrong in the files, and where.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize)]
pub struct Diagnostic {
    /// How bad it is.
    pub severity: Severity,
    /// File, relative to the folder.
    pub file: String,
    /// Line, from 1; 0 when the file as a whole is meant.
    pub line: u64,
    /// Column, from 1; 0 when the file as a whole is meant.
    pub column: u64,
    /// The resource, `<kind>/<name>`; empty when there is none.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub resource: String,
    /// The field, such as `spec.rules[0]`; empty when the resource as a whole is meant.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub field: String,
    /// What is wrong, and what to do.
    pub reason: String,
}

impl Diagnostic {
    /// A problem of a resource in a cluster.
    pub(crate) fn of_cluster(key: &Key, problem: &Problem) -> Self {
        Self {
            severity: problem.severity,
            file: "cluster".to_owned(),
            line: 0,
            column: 0,
            resource: format!("{}/{}/{}", key.kind, key.namespace, key.name),
            field: problem.path.to_string(),
            reason: problem.reason.clone(),
        }
    }

    /// A problem of a file as a whole.
    pub(crate) fn of_file(file: &str, reason: String) -> Self {
        Self {
            severity: Severity::Error,
            file: file.to_owned(),
            line: 0,
            column: 0,
            resource: String::new(),
            field: String::new(),
            reason,
        }
    }
}

/// `file:line:column: kind/name: field: reason`, without what is not known.
impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        if self.line > 0 {
            write!(f, ":{}:{}", self.line, self.column)?;
        }
        if !self.resource.is_empty() {
            write!(f, ": {}", self.resource)?;
        }
        if !self.field.is_empty() {
            write!(f, ": {}", self.field)?;
        }
        write!(f, ": {}", self.reason)
    }
}
