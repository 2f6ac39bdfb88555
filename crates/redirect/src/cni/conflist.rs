//! The list of plugins that a runtime runs for each pod, with ours in it and without.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::{ANNOTATIONS, NAME};

/// What a file with a single plugin is kept as, while a list with ours stands in its place.
const SAVED: &str = "weft-saved";

/// What became of a folder of lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// There is no list yet, as the plugin that makes networks has not come up.
    Waiting,
    /// The list that runtimes use holds our plugin already.
    Unchanged,
    /// It was put there.
    Added(PathBuf),
}

/// A list with our plugin at its end; `None` if it is there already, or if this is no list.
pub fn with_ours(list: &Value) -> Option<Value> {
    let plugins = list.get("plugins")?.as_array()?;
    if plugins.iter().any(is_ours) {
        return None;
    }
    let mut list = list.clone();
    let ours = json!({"type": NAME, "capabilities": {ANNOTATIONS: true}});
    list.get_mut("plugins")?.as_array_mut()?.push(ours);
    Some(list)
}

/// A list without our plugin; `None` if it is not there.
pub fn without_ours(list: &Value) -> Option<Value> {
    let mut list = list.clone();
    let plugins = list.get_mut("plugins")?.as_array_mut()?;
    let before = plugins.len();
    plugins.retain(|plugin| !is_ours(plugin));
    (plugins.len() < before).then_some(list)
}

fn is_ours(plugin: &Value) -> bool {
    plugin.get("type").and_then(Value::as_str) == Some(NAME)
}

/// A single plugin as a list of one.
fn listed(single: &Value) -> Value {
    let field = |name: &str, other: &str| single.get(name).cloned().unwrap_or_else(|| json!(other));
    json!({"cniVersion": field("cniVersion", "0.3.1"), "name": field("name", "pods"), "plugins": [single]})
}

fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder)?.filter_map(|entry| Some(entry.ok()?.path())).collect();
    files.sort();
    Ok(files)
}

fn has_extension(path: &Path, wanted: &[&str]) -> bool {
    path.extension().and_then(|extension| extension.to_str()).is_some_and(|found| wanted.contains(&found))
}

fn read(path: &Path) -> Option<Value> {
    serde_json::from_slice(&fs::read(path).ok()?).ok()
}

/// Whoever reads it sees the old text or the new one, never a part.
fn write(path: &Path, list: &Value) -> io::Result<()> {
    let temporary = path.with_extension("weft-new");
    fs::write(&temporary, format!("{list:#}\n"))?;
    fs::rename(temporary, path)
}

/// Puts our plugin into the list that runtimes use, the first by name.
pub fn add(folder: &Path) -> io::Result<Outcome> {
    let usable = |path: &PathBuf| has_extension(path, &["conf", "conflist", "json"]);
    let mut candidates = files(folder)?.into_iter().filter(usable);
    // What cannot be read is passed over by runtimes, too; whoever is writing it will be done at the next look.
    let Some((path, list)) = candidates.find_map(|path| Some((path.clone(), read(&path)?))) else {
        return Ok(Outcome::Waiting);
    };
    if list.get("plugins").is_some() {
        let Some(list) = with_ours(&list) else { return Ok(Outcome::Unchanged) };
        write(&path, &list)?;
        return Ok(Outcome::Added(path));
    }
    let Some(list) = with_ours(&listed(&list)) else { return Ok(Outcome::Unchanged) };
    let made = path.with_extension("conflist");
    write(&made, &list)?;
    let mut saved = path.clone().into_os_string();
    saved.push(format!(".{SAVED}"));
    fs::rename(&path, saved)?;
    Ok(Outcome::Added(made))
}

/// Takes our plugin out of all lists, whoever has changed them since, and puts single plugins back in their place.
pub fn remove(folder: &Path) -> io::Result<()> {
    for path in files(folder)? {
        if has_extension(&path, &[SAVED]) {
            let original = path.with_extension("");
            let made = original.with_extension("conflist");
            fs::rename(&path, &original)?;
            if made.exists() {
                fs::remove_file(made)?;
            }
        }
    }
    for path in files(folder)?.iter().filter(|path| has_extension(path, &["conflist", "json"])) {
        if let Some(list) = read(path).as_ref().and_then(without_ours) {
            write(path, &list)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIST: &str =
        r#"{"cniVersion": "1.0.0", "name": "pods", "plugins": [{"type": "bridge"}, {"type": "portmap"}]}"#;

    fn types(path: &Path) -> Vec<String> {
        let list = read(path).unwrap();
        let plugins = list["plugins"].as_array().unwrap();
        plugins.iter().map(|plugin| plugin["type"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn our_plugin_comes_last_once_and_asks_for_annotations() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("05-a.conflist"), folder.path().join("10-b.conflist"));
        assert_eq!(add(folder.path()).unwrap(), Outcome::Waiting);
        fs::write(&second, LIST).unwrap();
        fs::write(&first, LIST).unwrap();
        assert_eq!(add(folder.path()).unwrap(), Outcome::Added(first.clone()));
        assert_eq!(add(folder.path()).unwrap(), Outcome::Unchanged);
        assert_eq!(types(&first), ["bridge", "portmap", NAME]);
        assert_eq!(types(&second), ["bridge", "portmap"]);
        assert_eq!(read(&first).unwrap()["plugins"][2]["capabilities"][ANNOTATIONS], true);
        // Another plugin writes its list anew.
        fs::write(&first, LIST.replace("portmap", "bandwidth")).unwrap();
        assert_eq!(add(folder.path()).unwrap(), Outcome::Added(first.clone()));
        remove(folder.path()).unwrap();
        assert_eq!(types(&first), ["bridge", "bandwidth"], "what others changed stays");
        remove(folder.path()).unwrap();
    }

    #[test]
    fn a_single_plugin_becomes_a_list_and_comes_back() {
        let folder = tempfile::tempdir().unwrap();
        let (single, list) = (folder.path().join("10-a.conf"), folder.path().join("10-a.conflist"));
        let text = r#"{"cniVersion": "0.4.0", "name": "pods", "type": "bridge"}"#;
        fs::write(&single, text).unwrap();
        assert_eq!(add(folder.path()).unwrap(), Outcome::Added(list.clone()));
        assert_eq!(types(&list), ["bridge", NAME]);
        assert!(!single.exists(), "runtimes would take it first");
        assert_eq!(add(folder.path()).unwrap(), Outcome::Unchanged);
        remove(folder.path()).unwrap();
        assert_eq!((fs::read_to_string(&single).unwrap().as_str(), list.exists()), (text, false));
    }

    #[test]
    fn a_list_that_is_being_written_is_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("10-a.conflist"), &LIST[..20]).unwrap();
        assert_eq!(add(folder.path()).unwrap(), Outcome::Waiting);
    }
}
