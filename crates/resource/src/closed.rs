//! What is in force of policies that can't be read. They say who is kept out, so that leaving one out would let people in:
//! what can't be read keeps out whom it could have meant. Decided by the resource alone, so that it is the same in every
//! replica and after every restart.

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::decode::{Decoded, is_label, without_null};
use super::problem::{FieldPath, Problem, Segment, Severity};
use super::{
    Action, Age, AuthorizationPolicySpec, AuthorizationRule, DefaultAuthorization, Key, Kind, MeshPolicySpec,
    Object, PathMode, Spec, TlsMode, TlsPolicy,
};

/// Kinds that keep people out.
pub fn restricts(kind: Kind) -> bool {
    matches!(kind, Kind::AuthorizationPolicy | Kind::MeshPolicy)
}

/// Gives a policy that can't be read the object that it counts as, and tells of it. Other resources stay as they are.
pub fn closed(value: &Value, written: Age, mut decoded: Decoded) -> Decoded {
    let kind = Kind::ALL.into_iter().find(|kind| restricts(*kind) && kind.as_str() == decoded.head.kind);
    let Some(kind) = kind.filter(|_| decoded.object.is_none()) else { return decoded };
    let errors = Errors::of(&decoded.problems);
    let spec = value.get("spec").cloned().map_or(Value::Null, without_null);
    let (spec, told) = match kind {
        Kind::MeshPolicy => mesh(&spec, &errors),
        _ => authorization(&spec, &errors),
    };
    let head = &decoded.head;
    let namespace = if is_label(&head.namespace) { &head.namespace } else { "default" };
    let name = if head.name.is_empty() { "unnamed" } else { &head.name };
    let created = value.pointer("/metadata/creationTimestamp").and_then(Value::as_str);
    let created = created.and_then(|text| text.parse::<Timestamp>().ok());
    decoded.object = Some(Object {
        key: Key { kind, namespace: namespace.into(), name: name.into() },
        labels: std::collections::BTreeMap::new(),
        age: created.map_or(written, Age::Created),
        spec,
    });
    decoded.problems.extend(told);
    decoded
}

/// The errors of a resource, by place.
struct Errors<'a>(Vec<&'a Problem>);

impl<'a> Errors<'a> {
    fn of(problems: &'a [Problem]) -> Self {
        Self(problems.iter().filter(|problem| problem.severity == Severity::Error).collect())
    }

    /// Those inside of a field of `spec`.
    fn within(&self, field: &str) -> impl Iterator<Item = &'a Problem> {
        self.0.iter().copied().filter(move |problem| field_of(problem) == Some(field))
    }

    /// The first one that `known` does not account for.
    fn other(&self, known: impl Fn(&Problem) -> bool) -> Option<&'a Problem> {
        self.0.iter().copied().find(|problem| !known(problem))
    }
}

/// The field of `spec` that a problem is in.
fn field_of(problem: &Problem) -> Option<&str> {
    match &problem.path.0[..] {
        [Segment::Field(spec), Segment::Field(field), ..] if spec == "spec" => Some(field),
        _ => None,
    }
}

/// The rule of `spec.rules` that a problem is in.
fn rule_of(problem: &Problem) -> Option<usize> {
    match problem.path.0.get(2) {
        Some(Segment::Item(index)) if field_of(problem) == Some("rules") => Some(*index),
        _ => None,
    }
}

fn read<T: DeserializeOwned>(value: Option<&Value>) -> Option<T> {
    serde_json::from_value(value?.clone()).ok()
}

fn tell(path: Vec<Segment>, reason: String) -> Problem {
    Problem { severity: Severity::Error, path: FieldPath(path), reason }
}

fn describe(problem: &Problem) -> String {
    format!("{}: {}", problem.path, problem.reason)
}

/// A policy of which the rules that can be read are taken, if all else can be.
fn authorization(spec: &Value, errors: &Errors<'_>) -> (Spec, Vec<Problem>) {
    // What is left out means ALLOW; what can't be read may have meant DENY.
    let action = match spec.get("action") {
        None if spec.is_object() => Some(Action::Allow),
        action => read(action),
    };
    let selector_is_read = spec.is_object() && errors.within("selector").next().is_none();
    let selector = read(spec.get("selector")).filter(|_| selector_is_read);
    let mut closed = AuthorizationPolicySpec {
        selector,
        action: action.unwrap_or(Action::Deny),
        rules: Vec::new(),
        unreadable: errors.other(|problem| rule_of(problem).is_some()).map(describe),
    };
    if closed.unreadable.is_some() {
        let whom = if closed.selector.is_some() {
            "calls to the workloads that it selects"
        } else {
            "calls in its namespace"
        };
        let reason = match closed.action {
            Action::Audit => {
                "can't be read, and so nothing is counted by it until it is corrected".to_owned()
            }
            Action::Allow | Action::Deny => {
                format!("can't be read, and so denies all {whom} until it is corrected")
            }
        };
        return (Spec::AuthorizationPolicy(closed), vec![tell(vec![field("spec")], reason)]);
    }
    let mut told = Vec::new();
    for (index, rule) in spec.get("rules").and_then(Value::as_array).into_iter().flatten().enumerate() {
        let wrong = errors.0.iter().find(|problem| rule_of(problem) == Some(index));
        let unreadable = wrong.map(|problem| describe(problem));
        if unreadable.is_some() {
            let effect = match closed.action {
                Action::Deny => "denies everything",
                Action::Allow => "allows nothing",
                Action::Audit => "counts nothing",
            };
            let reason = format!("the rule can't be read, and so {effect} until it is corrected");
            told.push(tell(vec![field("spec"), field("rules"), Segment::Item(index)], reason));
        }
        let rule = unreadable.is_none().then(|| read::<AuthorizationRule>(Some(rule))).flatten();
        closed.rules.push(match (rule, unreadable) {
            (Some(rule), _) => rule,
            (None, unreadable) => AuthorizationRule {
                unreadable: Some(unreadable.unwrap_or_else(|| format!("spec.rules[{index}]: is no rule"))),
                ..AuthorizationRule::default()
            },
        });
    }
    (Spec::AuthorizationPolicy(closed), told)
}

/// A policy of which the fields that can be read are taken. Those that keep people out count as the strictest otherwise; of
/// the others a policy that is farther away may have one.
fn mesh(spec: &Value, errors: &Errors<'_>) -> (Spec, Vec<Problem>) {
    let outside = errors.other(|problem| field_of(problem).is_some_and(|name| name != "selector"));
    let mut rest = spec.clone();
    if let Value::Object(fields) = &mut rest {
        fields.retain(|name, _| errors.within(name).next().is_none());
    }
    let readable = outside.is_none().then(|| read::<MeshPolicySpec>(Some(&rest))).flatten();
    let Some(mut closed) = readable else {
        let closed = MeshPolicySpec {
            tls: Some(strict()),
            default_authorization: Some(DefaultAuthorization::Deny),
            unreadable: true,
            ..MeshPolicySpec::default()
        };
        let reason = "can't be read, and so counts as tls.mode STRICT and defaultAuthorization DENY for all of its \
                      namespace until it is corrected";
        return (Spec::MeshPolicy(closed), vec![tell(vec![field("spec")], reason.to_owned())]);
    };
    let mut told = Vec::new();
    let mut close = |name: &str, reason: &str| {
        let wrong = errors.within(name).next().is_some();
        if wrong {
            told.push(tell(vec![field("spec"), field(name)], format!("{reason} until it is corrected")));
        }
        wrong
    };
    if close("tls", "can't be read, and so counts as mode STRICT for all ports") {
        closed.tls = Some(strict());
    }
    if close("defaultAuthorization", "can't be read, and so counts as DENY") {
        closed.default_authorization = Some(DefaultAuthorization::Deny);
    }
    if close("pathMode", "can't be read, and so counts as EVERY_READING") {
        closed.path_mode = Some(PathMode::EveryReading);
    }
    (Spec::MeshPolicy(closed), told)
}

fn strict() -> TlsPolicy {
    TlsPolicy { mode: Some(TlsMode::Strict), ports: Vec::new() }
}

fn field(name: &str) -> Segment {
    Segment::Field(name.to_owned())
}

#[cfg(test)]
mod tests;
