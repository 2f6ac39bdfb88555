//! What the Dockerfile promises of each image, and that the examples name images of this version.

use std::fs;
use std::path::{Path, PathBuf};

const VERSION: &str = env!("CARGO_PKG_VERSION");

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The last stages: name and text of each.
fn images() -> Vec<(String, String)> {
    let file = fs::read_to_string(root().join("Dockerfile")).unwrap();
    let stages = file.split("\nFROM ").skip(1);
    stages
        .filter_map(|stage| {
            let (first, text) = stage.split_once('\n').unwrap();
            let name = first.strip_prefix("scratch AS ")?;
            Some((name.to_owned(), text.to_owned()))
        })
        .collect()
}

#[test]
fn every_image_holds_one_program_its_list_of_contents_and_nothing_to_run_it_by() {
    let images = images();
    let names: Vec<&str> = images.iter().map(|(name, _)| &**name).collect();
    assert_eq!(names, ["proxy", "control-plane", "cni", "demo"]);
    for (name, text) in &images {
        let copied: Vec<&str> = text
            .lines()
            .filter_map(|line| line.strip_prefix("COPY "))
            .map(|line| line.split_whitespace().last().unwrap())
            .filter(|target| *target != "/var")
            .collect();
        assert!(matches!(&*copied, [_, "/sbom.json"]), "{name}: {copied:?}");
        assert!(text.contains(&format!("ENTRYPOINT [\"{}\"]", copied[0])), "{name}");
        assert!(!text.contains("\nRUN "), "{name}: there is no shell to run anything");
        assert!(text.contains(&format!("ARG VERSION={VERSION}")), "{name}");
        for label in ["title", "description", "source", "version", "revision", "licenses"] {
            assert!(text.contains(&format!("org.opencontainers.image.{label}=")), "{name}: {label}");
        }
    }
}

#[test]
fn images_run_as_users_without_rights_but_for_the_one_that_writes_to_nodes() {
    for (name, text) in images() {
        let user = text.lines().find_map(|line| line.strip_prefix("USER "));
        match &*name {
            // The injector and the rules of redirection know it by this.
            "proxy" => assert_eq!(user, Some("2102:2102")),
            "cni" => assert_eq!(user, None),
            _ => assert_eq!(user, Some("65532:65532"), "{name}"),
        }
    }
}

#[test]
fn examples_name_images_of_this_version() {
    let mut seen = 0;
    let mut folders = vec![root().join("examples"), root().join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let Ok(text) = fs::read_to_string(&path) else { continue };
            for (_, rest) in text.match_indices("ghcr.io/weft-mesh/").map(|(at, _)| text.split_at(at)) {
                let image =
                    rest.split(|letter: char| letter.is_whitespace() || letter == '`').next().unwrap();
                if let Some((_, tag)) = image.split_once(':') {
                    assert_eq!(tag, VERSION, "{}: {image}", path.display());
                    seen += 1;
                }
            }
        }
    }
    assert!(seen > 5, "{seen}");
}
