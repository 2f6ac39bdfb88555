//! The examples for Kubernetes: what the mesh reads of them is right, and every pod of them gets a sidecar.

// Tests end where they go wrong, helpers included.
#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::Path;
use std::process::Command;

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../examples/kubernetes");

fn weft(arguments: &[&str]) -> (bool, String, String) {
    let ran = Command::new(env!("CARGO_BIN_EXE_weft")).args(arguments).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (ran.status.success(), text(&ran.stdout), text(&ran.stderr))
}

#[test]
fn every_example_is_right_with_the_demo_that_it_is_for() {
    for entry in fs::read_dir(FOLDER).unwrap() {
        let path = entry.unwrap().path();
        let folder = tempfile::tempdir().unwrap();
        for file in [&path, &Path::new(FOLDER).join("demo.yaml")] {
            fs::copy(file, folder.path().join(file.file_name().unwrap())).unwrap();
        }
        let (right, said, _) = weft(&["check", folder.path().to_str().unwrap()]);
        assert!(right, "{}: {said}", path.display());
    }
}

#[test]
fn every_pod_of_the_examples_gets_a_sidecar() {
    for file in ["demo.yaml", "job.yaml", "database.yaml"] {
        let path = format!("{FOLDER}/{file}");
        let pods = fs::read_to_string(&path).unwrap().matches("template:").count();
        let (fine, written, notes) = weft(&["inject", "-f", &path]);
        assert!(fine && notes.is_empty(), "{notes}");
        assert_eq!(written.matches("name: weft-redirect").count(), pods, "{file}");
    }
}
