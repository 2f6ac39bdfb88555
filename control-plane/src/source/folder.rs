//! The files of a folder, what is in force of them, and what is wrong with them.
//!
//! Each file stands for itself: one that is wrong is refused as a whole, and what it said when it was last right stays
//! in force, while other files change freely. A file that was never right adds nothing but the policies in it, which say
//! who is kept out ([`unread`]). A file that is gone takes its resources with it. A resource that two files define belongs to the file that had it first.

mod unread;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use weft_xds::Version;

use self::unread::Unread;
use super::diagnostic::Diagnostic;
use super::yaml::{self, Node};
use weft_resource::{Age, FieldPath, Head, Key, Object, Problem, Severity, decode};

/// The text of each file by its name relative to the folder, or why it can't be read.
pub(crate) type Texts = BTreeMap<String, Result<String, String>>;

/// The files of a folder.
#[derive(Debug, Default)]
pub(crate) struct Folder {
    files: BTreeMap<String, File>,
}

#[derive(Debug)]
struct File {
    /// As it is now.
    current: Arc<Parsed>,
    /// As it was when it was last right, and so is in force.
    good: Option<Arc<Parsed>>,
}

/// What a file's text says.
#[derive(Debug)]
struct Parsed {
    text: Result<String, String>,
    resources: Vec<Resource>,
    diagnostics: Vec<Diagnostic>,
    /// What is in force of it if it was never right.
    unread: Unread,
}

/// A resource in a file.
#[derive(Clone, Debug)]
struct Resource {
    object: Arc<Object>,
    node: Arc<Node>,
}

/// What is in force after a change, and what is wrong.
#[derive(Clone, Debug, Default)]
pub(crate) struct Outcome {
    /// The resources in force.
    pub(crate) objects: BTreeMap<Key, Arc<Object>>,
    /// Where these stand.
    pub(crate) places: Places,
    /// Everything wrong with the files as they are now, each by itself.
    pub(crate) diagnostics: Vec<Diagnostic>,
    /// A hash of what is in force.
    pub(crate) version: String,
    /// The text of each file as it was when it was last right.
    pub(crate) last_good: BTreeMap<String, String>,
}

/// Where the resources in force stand: the file of each, and the place in it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Places(HashMap<Key, (String, Resource)>);

impl Places {
    /// Says of each problem where it is, in the order of files; nothing of resources that are not in the folder.
    pub(crate) fn locate(&self, problems: Vec<(Key, Problem)>) -> Vec<Diagnostic> {
        let located = problems.into_iter().filter_map(|(key, problem)| {
            let (file, resource) = self.0.get(&key)?;
            Some(resource.diagnose(file, problem.severity, &problem.path, problem.reason))
        });
        let mut located: Vec<Diagnostic> = located.collect();
        in_order(&mut located);
        located
    }
}

/// Sorts by place.
pub(crate) fn in_order(diagnostics: &mut [Diagnostic]) {
    diagnostics.sort_by(|a, b| (&a.file, a.line, a.column).cmp(&(&b.file, b.line, b.column)));
}

impl Folder {
    /// A folder of which earlier, right texts are known.
    pub(crate) fn new(last_good: BTreeMap<String, String>) -> Self {
        let files = last_good.into_iter().map(|(name, text)| {
            let parsed = Arc::new(Parsed::new(&name, Ok(text)));
            let good = parsed.is_right().then(|| Arc::clone(&parsed));
            (name, File { current: parsed, good })
        });
        Self { files: files.collect() }
    }

    /// Takes the files as they are now.
    pub(crate) fn update(&mut self, texts: Texts) -> Outcome {
        self.files.retain(|name, _| texts.contains_key(name));
        let mut changed = Vec::new();
        for (name, text) in texts {
            if self.files.get(&name).is_some_and(|file| file.current.text == text) {
                continue;
            }
            let parsed = Arc::new(Parsed::new(&name, text));
            let good = self.files.remove(&name).and_then(|file| file.good);
            self.files.insert(name.clone(), File { current: parsed, good });
            changed.push(name);
        }
        self.resolve()
    }

    /// Which resources are in force: a change may end a conflict elsewhere, so every file is looked at.
    fn resolve(&mut self) -> Outcome {
        let mut owners: HashMap<Key, String> = HashMap::new();
        let mut diagnostics = Vec::new();
        // What is in force already comes first, so that nobody loses a resource to a newer definition.
        for (name, file) in &self.files {
            let right = file.current.is_right();
            for resource in file.good.iter().flat_map(|good| &good.resources) {
                let key = &resource.object.key;
                if !right || file.current.resources.iter().any(|current| current.object.key == *key) {
                    owners.entry(key.clone()).or_insert_with(|| name.clone());
                }
            }
        }
        for (name, file) in &mut self.files {
            diagnostics.extend(file.current.diagnostics.iter().cloned());
            if !file.current.is_right() {
                continue;
            }
            let mut conflicts = Vec::new();
            for resource in &file.current.resources {
                let key = &resource.object.key;
                let owner = owners.entry(key.clone()).or_insert_with(|| name.clone());
                if owner != name {
                    conflicts.push(resource.diagnose(
                        name,
                        Severity::Error,
                        &FieldPath::default(),
                        format!(
                            "namespace {} has one already, in {owner}; remove or rename one of them",
                            key.namespace
                        ),
                    ));
                }
            }
            if conflicts.is_empty() {
                file.good = Some(Arc::clone(&file.current));
            }
            diagnostics.extend(conflicts);
        }
        self.outcome(&owners, diagnostics)
    }

    fn outcome(&self, owners: &HashMap<Key, String>, mut diagnostics: Vec<Diagnostic>) -> Outcome {
        let mut outcome = Outcome::default();
        let mut content = Vec::new();
        let mut read = |name: &String, text: &String| {
            content.extend_from_slice(name.as_bytes());
            content.extend_from_slice(Version::of(text.as_bytes()).to_string().as_bytes());
        };
        for (name, file) in &self.files {
            let Some(good) = &file.good else { continue };
            let Ok(text) = &good.text else { continue };
            outcome.last_good.insert(name.clone(), text.clone());
            read(name, text);
            for resource in &good.resources {
                let key = &resource.object.key;
                if owners.get(key).is_none_or(|owner| owner == name) {
                    outcome.objects.insert(key.clone(), Arc::clone(&resource.object));
                    outcome.places.0.insert(key.clone(), (name.clone(), resource.clone()));
                }
            }
        }
        for (name, file) in self.files.iter().filter(|(_, file)| file.good.is_none()) {
            let Parsed { text, unread, .. } = &*file.current;
            if let Ok(text) = text
                && !unread.policies.is_empty()
            {
                read(name, text);
            }
            for policy in &unread.policies {
                let object = &policy.object;
                outcome.objects.entry(object.key.clone()).or_insert_with(|| Arc::clone(object));
            }
            diagnostics.extend(unread.diagnostics.iter().cloned());
        }
        in_order(&mut diagnostics);
        outcome.diagnostics = diagnostics;
        outcome.version = Version::of(&content).to_string();
        outcome
    }
}

impl Parsed {
    fn new(name: &str, text: Result<String, String>) -> Self {
        let mut resources: Vec<Resource> = Vec::new();
        let mut diagnostics = Vec::new();
        let parsed = match &text {
            Ok(text) => yaml::parse(text),
            Err(reason) => {
                diagnostics.push(Diagnostic::of_file(name, reason.clone()));
                Ok(Vec::new())
            }
        };
        let nodes = parsed.unwrap_or_else(|malformed| {
            let (line, column) = malformed.place.map_or((0, 0), |place| (place.line, place.column));
            diagnostics.push(Diagnostic { line, column, ..Diagnostic::of_file(name, malformed.reason) });
            Vec::new()
        });
        let file: Arc<str> = name.into();
        let mut unread = Unread::default();
        if let Ok(text) = &text
            && !diagnostics.is_empty()
        {
            unread.take_text(&file, text);
        }
        let mut lines: HashMap<Key, u64> = HashMap::new();
        for (index, node) in nodes.into_iter().flat_map(Node::into_resources).enumerate() {
            let age = Age::Written(Arc::clone(&file), index as u32);
            unread.take(name, &node, age.clone());
            let decoded = decode(&node.value(), age);
            diagnostics.extend(
                decoded.problems.into_iter().map(|problem| locate(name, &node, &decoded.head, problem)),
            );
            let Some(object) = decoded.object else { continue };
            let resource = Resource { object: Arc::new(object), node: Arc::new(node) };
            let key = &resource.object.key;
            if let Some(line) = lines.insert(key.clone(), resource.node.place().line) {
                diagnostics.push(resource.diagnose(
                    name,
                    Severity::Error,
                    &FieldPath::default(),
                    format!(
                        "namespace {} has one already, in line {line}; remove or rename one of them",
                        key.namespace
                    ),
                ));
            }
            resources.push(resource);
        }
        Self { text, resources, diagnostics, unread }
    }

    fn is_right(&self) -> bool {
        self.diagnostics.iter().all(|diagnostic| diagnostic.severity != Severity::Error)
    }
}

impl Resource {
    fn diagnose(&self, file: &str, severity: Severity, path: &FieldPath, reason: String) -> Diagnostic {
        let key = &self.object.key;
        let head = Head { kind: key.kind.to_string(), namespace: String::new(), name: key.name.to_string() };
        locate(file, &self.node, &head, Problem { severity, path: path.clone(), reason })
    }
}

fn locate(file: &str, node: &Node, head: &Head, problem: Problem) -> Diagnostic {
    let place = node.locate(&problem.path);
    let resource = match (head.kind.as_str(), head.name.as_str()) {
        ("", name) => name.to_owned(),
        (kind, "") => kind.to_owned(),
        (kind, name) => format!("{kind}/{name}"),
    };
    Diagnostic {
        severity: problem.severity,
        file: file.to_owned(),
        line: place.line,
        column: place.column,
        resource,
        field: problem.path.to_string(),
        reason: problem.reason,
    }
}

#[cfg(test)]
mod tests;
