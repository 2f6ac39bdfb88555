//! What is wrong with a resource, and where in it.

use std::fmt;

/// One step from a value to a value inside it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Segment {
    /// A field of a mapping.
    Field(String),
    /// An item of a list, counted from 0.
    Item(usize),
}

/// Where in a resource, as `spec.rules[0].matches`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct FieldPath(pub Vec<Segment>);

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, segment) in self.0.iter().enumerate() {
            match segment {
                Segment::Field(name) if index == 0 => f.write_str(name)?,
                Segment::Field(name) => write!(f, ".{name}")?,
                Segment::Item(item) => write!(f, "[{item}]")?,
            }
        }
        Ok(())
    }
}

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// What holds it is refused; what was in force before stays.
    Error,
    /// It is taken, but will probably not do what was meant.
    Warning,
}

/// Something wrong in one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// How bad it is.
    pub severity: Severity,
    /// Where it is.
    pub path: FieldPath,
    /// What is wrong, and what to do.
    pub reason: String,
}

/// A place in a resource while it is being checked; kept on the stack, written out only for a problem.
#[derive(Clone, Copy)]
pub(crate) struct At<'a> {
    parent: Option<&'a At<'a>>,
    step: Step<'a>,
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Root,
    Field(&'a str),
    Item(usize),
}

impl At<'static> {
    pub(crate) const ROOT: Self = At { parent: None, step: Step::Root };
}

impl<'a> At<'a> {
    /// A field of this place.
    pub(crate) fn field<'b>(&'b self, name: &'b str) -> At<'b>
    where
        'a: 'b,
    {
        At { parent: Some(self), step: Step::Field(name) }
    }

    /// An item of this place.
    pub(crate) fn item<'b>(&'b self, index: usize) -> At<'b>
    where
        'a: 'b,
    {
        At { parent: Some(self), step: Step::Item(index) }
    }

    fn path(&self) -> FieldPath {
        let mut segments = Vec::new();
        let mut place = Some(self);
        while let Some(at) = place {
            match at.step {
                Step::Root => {}
                Step::Field(name) => segments.push(Segment::Field(name.to_owned())),
                Step::Item(index) => segments.push(Segment::Item(index)),
            }
            place = at.parent;
        }
        segments.reverse();
        FieldPath(segments)
    }
}

/// Gathers problems, so that all of them are told at once.
#[derive(Debug, Default)]
pub(crate) struct Problems(pub(crate) Vec<Problem>);

impl Problems {
    /// What stands here is refused.
    pub(crate) fn error(&mut self, at: &At<'_>, reason: impl Into<String>) {
        self.push(Severity::Error, at, reason.into());
    }

    /// What stands here is suspicious.
    pub(crate) fn warn(&mut self, at: &At<'_>, reason: impl Into<String>) {
        self.push(Severity::Warning, at, reason.into());
    }

    /// Whether anything is to be refused.
    pub(crate) fn has_errors(&self) -> bool {
        self.0.iter().any(|problem| problem.severity == Severity::Error)
    }

    fn push(&mut self, severity: Severity, at: &At<'_>, reason: String) {
        let problem = Problem { severity, path: at.path(), reason };
        // A schema's pattern may say what is said more exactly later on.
        if !self.0.contains(&problem) {
            self.0.push(problem);
        }
    }
}
