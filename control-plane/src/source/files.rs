//! Reading a folder of YAML files.

use std::fs;
use std::io;
use std::path::Path;

use super::folder::Texts;

/// Largest file that is read.
const FILE_MAX: u64 = 32 << 20;
/// Most files that are read: a folder with more was hardly meant.
const FILES_MAX: usize = 10_000;

/// Reads every `.yaml`, `.yml` and `.json` file of a folder and of the folders directly inside it. Names that begin
/// with a dot are left out; symbolic links are followed, which is how Kubernetes mounts a ConfigMap.
///
/// Fails only when the folder itself can't be read. A file that is gone by the time it is read was never there.
pub(crate) fn read(folder: &Path) -> io::Result<Texts> {
    let mut texts = Texts::new();
    read_level(folder, "", &mut texts)?;
    Ok(texts)
}

fn read_level(folder: &Path, prefix: &str, texts: &mut Texts) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let Some(name) = entry.file_name().to_str().map(str::to_owned) else { continue };
        if name.starts_with('.') {
            continue;
        }
        let path = entry.path();
        // Follows links, as the entry's own type does not.
        let Ok(metadata) = fs::metadata(&path) else { continue };
        if metadata.is_dir() {
            if prefix.is_empty() {
                // A folder inside that can't be read is told of as a file would be.
                if let Err(error) = read_level(&path, &format!("{name}/"), texts) {
                    texts.insert(name, Err(format!("can't be read: {error}")));
                }
            }
        } else if is_resource_file(&path) {
            if texts.len() >= FILES_MAX {
                texts.insert(
                    format!("{prefix}{name}"),
                    Err(format!("is beyond {FILES_MAX} files; join some")),
                );
                return Ok(());
            }
            if let Some(text) = read_file(&path, metadata.len()) {
                texts.insert(format!("{prefix}{name}"), text);
            }
        }
    }
    Ok(())
}

fn is_resource_file(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    matches!(extension, Some("yaml" | "yml" | "json"))
}

fn read_file(path: &Path, length: u64) -> Option<Result<String, String>> {
    if length > FILE_MAX {
        return Some(Err(format!("has {length} bytes; split it into files of at most {FILE_MAX}")));
    }
    match fs::read(path) {
        Ok(bytes) => Some(
            String::from_utf8(bytes).map_err(|error| format!("is no UTF-8 text: {}", error.utf8_error())),
        ),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(error) => Some(Err(format!("can't be read: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_links_and_one_level_of_folders_are_read() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("a.yaml", "a");
        write("b.txt", "b");
        write("..2026/c.yml", "c");
        write("sub/d.json", "d");
        write("sub/deep/e.yaml", "e");
        write(".hidden.yaml", "f");
        fs::write(folder.path().join("g.yaml"), b"\xff").unwrap();
        std::os::unix::fs::symlink("..2026", folder.path().join("..data")).unwrap();
        std::os::unix::fs::symlink("..data/c.yml", folder.path().join("c.yml")).unwrap();
        std::os::unix::fs::symlink("nowhere", folder.path().join("broken.yaml")).unwrap();
        let texts = read(folder.path()).unwrap();
        let names: Vec<&str> = texts.keys().map(String::as_str).collect();
        assert_eq!(names, ["a.yaml", "c.yml", "g.yaml", "sub/d.json"]);
        assert_eq!(texts["c.yml"], Ok("c".to_owned()));
        assert!(texts["g.yaml"].as_ref().unwrap_err().contains("UTF-8"));
    }

    #[test]
    fn a_missing_folder_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(read(&folder.path().join("missing")).is_err());
    }
}
