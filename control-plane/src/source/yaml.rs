//! YAML text as trees of values that know their place.

use std::fmt;

use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use serde_saphyr::Spanned;

use weft_resource::{FieldPath, Segment};

/// Most documents in one file.
const DOCUMENTS_MAX: usize = 10_000;
/// Most values in one file: some 10,000 endpoints in EndpointSlices.
const NODES_MAX: usize = 1_000_000;

/// Stack of the thread that reads a file: what is nested as deeply as may be takes several MiB without optimisation.
const STACK: usize = 16 << 20;

/// A place in a text: line and column, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) line: u64,
    pub(crate) column: u64,
}

/// A value and its place.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    content: Content,
    place: Place,
}

#[derive(Clone, Debug)]
enum Content {
    Scalar(Value),
    List(Vec<Node>),
    Mapping(Vec<(String, Place, Node)>),
}

/// What is wrong with a text that is no YAML.
#[derive(Debug)]
pub(crate) struct Malformed {
    pub(crate) place: Option<Place>,
    pub(crate) reason: String,
}

/// Reads all documents of a text, without the empty ones.
pub(crate) fn parse(text: &str) -> Result<Vec<Node>, Malformed> {
    let unable = |reason: String| Err(Malformed { place: None, reason });
    std::thread::scope(|scope| {
        match std::thread::Builder::new().stack_size(STACK).spawn_scoped(scope, || read(text)) {
            Ok(reading) => {
                reading.join().unwrap_or_else(|_| unable("can't be read: the reader failed".to_owned()))
            }
            Err(error) => unable(format!("can't be read: there is no thread for it: {error}")),
        }
    })
}

fn read(text: &str) -> Result<Vec<Node>, Malformed> {
    let options = serde_saphyr::options! {
        budget: serde_saphyr::budget! {
            max_documents: DOCUMENTS_MAX,
            max_nodes: NODES_MAX,
            max_events: 3 * NODES_MAX,
        },
        // YAML 1.2 and Kubernetes' own tools disagree about `yes`; as text it is refused where a boolean is needed.
        strict_booleans: true,
    };
    serde_saphyr::from_multiple_with_options(text, options).map_err(|error| Malformed {
        place: error.location().map(|found| Place { line: found.line(), column: found.column() }),
        reason: reason(&error),
    })
}

/// The parser's message in one line, without the place, which is told apart.
fn reason(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    if let Some(limit) = exceeded(&text) {
        return limit;
    }
    let line = text.lines().next().unwrap_or_default();
    let line = line.split(" at line ").next().unwrap_or_default();
    match line.split_once(", set DuplicateKeyPolicy") {
        Some((duplicate, _)) => format!("{duplicate}; remove one"),
        None => format!("is no YAML: {line}"),
    }
}

/// Which limit a text exceeds, by the reader's message, and what to do.
fn exceeded(message: &str) -> Option<String> {
    let (_, limit) = message.split_once("budget breached: ")?;
    let limit = limit.split(|letter: char| !letter.is_ascii_alphabetic()).next().unwrap_or_default();
    Some(match limit {
        "Documents" => {
            format!("has more than {DOCUMENTS_MAX} documents; split it into files of at most so many")
        }
        "Nodes" | "Events" => {
            format!("has more than {NODES_MAX} values; split it into files of at most so many")
        }
        "Depth" => "is nested too deeply for a resource; write it flatter".to_owned(),
        _ if ["Alias", "Anchor", "MergeKeys"].into_iter().any(|repeated| limit.contains(repeated)) => {
            "repeats too much by anchors and aliases (&, * and <<); write out what they stand for".to_owned()
        }
        _ => "is too large for one file; split it".to_owned(),
    })
}

impl Node {
    /// Where it begins.
    pub(crate) fn place(&self) -> Place {
        self.place
    }

    /// Itself without places.
    pub(crate) fn value(&self) -> Value {
        match &self.content {
            Content::Scalar(value) => value.clone(),
            Content::List(items) => Value::Array(items.iter().map(Self::value).collect()),
            Content::Mapping(fields) => Value::Object(
                fields.iter().map(|(name, _, node)| (name.clone(), node.value())).collect::<Map<_, _>>(),
            ),
        }
    }

    /// The items of `kind: List`, or the node itself.
    pub(crate) fn into_resources(self) -> Vec<Self> {
        if let Content::Mapping(fields) = &self.content {
            let text =
                |name: &str| fields.iter().find(|(field, ..)| field == name).map(|(.., node)| &node.content);
            let is_list =
                matches!(text("kind"), Some(Content::Scalar(Value::String(kind))) if kind == "List");
            if let (true, Some(Content::List(items))) = (is_list, text("items")) {
                return items.clone();
            }
        }
        vec![self]
    }

    /// The place of a field or item, or of the nearest thing around it that is there.
    pub(crate) fn locate(&self, path: &FieldPath) -> Place {
        let mut node = self;
        let mut place = self.place;
        for segment in &path.0 {
            let next = match (segment, &node.content) {
                (Segment::Field(name), Content::Mapping(fields)) => {
                    fields.iter().find(|(field, ..)| field == name).map(|(_, key, node)| (*key, node))
                }
                (Segment::Item(index), Content::List(items)) => {
                    items.get(*index).map(|node| (node.place, node))
                }
                _ => None,
            };
            let Some((found, inner)) = next else { break };
            (place, node) = (found, inner);
        }
        place
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let spanned = Spanned::<Content>::deserialize(deserializer)?;
        let place = Place { line: spanned.referenced.line(), column: spanned.referenced.column() };
        Ok(Self { content: spanned.value, place })
    }
}

impl<'de> Deserialize<'de> for Content {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ContentVisitor)
    }
}

struct ContentVisitor;

impl<'de> Visitor<'de> for ContentVisitor {
    type Value = Content;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Content, E> {
        Ok(Content::Scalar(Value::Null))
    }

    fn visit_none<E>(self) -> Result<Content, E> {
        Ok(Content::Scalar(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Content, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Content, E> {
        Ok(Content::Scalar(Value::Bool(value)))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Content, E> {
        Ok(Content::Scalar(value.into()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Content, E> {
        Ok(Content::Scalar(Number::from_f64(value).map_or(Value::Null, Value::Number)))
    }

    fn visit_str<E>(self, value: &str) -> Result<Content, E> {
        Ok(Content::Scalar(Value::String(value.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut access: A) -> Result<Content, A::Error> {
        let mut items = Vec::new();
        while let Some(item) = access.next_element()? {
            items.push(item);
        }
        Ok(Content::List(items))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<Content, A::Error> {
        let mut fields = Vec::new();
        while let Some((name, node)) = access.next_entry::<Spanned<String>, Node>()? {
            let place = Place { line: name.referenced.line(), column: name.referenced.column() };
            fields.push((name.value, place, node));
        }
        Ok(Content::Mapping(fields))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::json;

    #[test]
    fn documents_are_read_with_their_places() {
        let nodes = parse("a: 1\n---\n# nothing\n---\nb:\n  - c: yes\n    d: '1'\n").unwrap();
        let values: Vec<Value> = nodes.iter().map(Node::value).collect();
        assert_eq!(values, [json!({"a": 1}), json!({"b": [{"c": "yes", "d": "1"}]})]);
        let path = FieldPath(vec![Segment::Field("b".into()), Segment::Item(0), Segment::Field("d".into())]);
        assert_eq!(nodes[1].locate(&path), Place { line: 7, column: 5 });
        let missing = FieldPath(vec![Segment::Field("b".into()), Segment::Item(3)]);
        assert_eq!(nodes[1].locate(&missing), Place { line: 5, column: 1 });
    }

    #[test]
    fn what_is_no_yaml_is_refused_with_its_place() {
        let error = parse("a: 1\nb: [\n").unwrap_err();
        assert_eq!(error.place, Some(Place { line: 2, column: 4 }));
        assert_eq!(error.reason, "is no YAML: unclosed bracket '['");
        assert_eq!(parse("a: 1\na: 2\n").unwrap_err().reason, "duplicate mapping key: a; remove one");
    }

    #[test]
    fn limits_are_said_in_words() {
        let documents = "---\na: 1\n".repeat(DOCUMENTS_MAX + 1);
        let reason = parse(&documents).unwrap_err().reason;
        assert_eq!(reason, "has more than 10000 documents; split it into files of at most so many");
        assert_eq!(parse(&"---\na: 1\n".repeat(DOCUMENTS_MAX)).unwrap().len(), DOCUMENTS_MAX);
        let deep = format!("{}{}", "[".repeat(200), "]".repeat(200));
        assert!(parse(&deep).unwrap_err().reason.contains("nested too deeply"));
    }

    #[test]
    fn a_list_is_its_items() {
        let nodes = parse("kind: List\nitems:\n- a: 1\n- a: 2\n").unwrap();
        let items = nodes.into_iter().flat_map(Node::into_resources).map(|node| node.value());
        assert_eq!(items.collect::<Vec<_>>(), [json!({"a": 1}), json!({"a": 2})]);
    }

    #[test]
    fn a_bomb_of_aliases_is_refused() {
        let mut text = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for level in 1..12 {
            let before = level - 1;
            let tenfold = vec![format!("*a{before}"); 10].join(", ");
            text = format!("{text}a{level}: &a{level} [{tenfold}]\n");
        }
        let reason = parse(&text).unwrap_err().reason;
        assert!(reason.contains("anchors and aliases"), "{reason}");
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in r"([a-z{}\[\]:,&*!|>'%@#\-\? \n\t\r0-9.~é]|\PC){0,80}") {
            if let Ok(nodes) = parse(&text) {
                for node in nodes {
                    let _ = node.value();
                }
            }
        }
    }
}
