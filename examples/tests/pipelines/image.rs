//! From a context to a signed image.

use std::process::Output;

use super::{World, complaint};

const DIGEST: &str = "sha256:1111111111111111111111111111111111111111111111111111111111111111";
const TAG: &str = "registry.example.com/weft:abc";

fn image(world: &World, tools: &[&str], arguments: &[&str], variables: &[(&str, &str)]) -> Output {
    world.run("image", tools, arguments, variables)
}

#[test]
fn an_image_is_called_by_its_digest_once_it_is_built_whoever_builds_it() {
    for builder in ["buildah", "podman", "docker"] {
        let world = World::new();
        let output = image(&world, &[builder], &["build", TAG, "--target", "demo"], &[("BUILDER", builder)]);
        assert!(output.status.success(), "{builder}: {}", complaint(&output));
        assert_eq!(world.said("image.reference"), format!("registry.example.com/weft@{DIGEST}"));
        assert!(
            world.said("calls").contains(&format!("{builder} build --tag {TAG} --target demo .")),
            "{}",
            world.said("calls")
        );
    }
}

#[test]
fn the_port_of_a_registry_is_no_tag() {
    let world = World::new();
    assert!(image(&world, &["buildah"], &["build", "localhost:5000/weft"], &[]).status.success());
    assert_eq!(world.said("image.reference"), format!("localhost:5000/weft@{DIGEST}"));
}

#[test]
fn what_the_scan_finds_ends_the_pipeline_and_the_list_of_contents_is_kept() {
    let world = World::new();
    world.set("image.reference", &format!("registry.example.com/weft@{DIGEST}"));
    assert!(image(&world, &["trivy"], &["scan"], &[]).status.success());
    let calls = world.said("calls");
    assert!(calls.contains("--exit-code 1 --severity HIGH,CRITICAL"), "{calls}");
    assert!(calls.lines().all(|line| line.ends_with(DIGEST)), "{calls}");
    assert_eq!(world.said("sbom.json"), "{\"bomFormat\":\"CycloneDX\"}");
    world.set("fails", "trivy image");
    assert!(!image(&world, &["trivy"], &["scan"], &[]).status.success());
}

#[test]
fn the_digest_is_signed_and_what_is_inside_too() {
    for (variables, option) in
        [(&[][..], "--yes registry"), (&[("COSIGN_KEY", "env://KEY")], "--key env://KEY")]
    {
        let world = World::new();
        world.set("image.reference", &format!("registry.example.com/weft@{DIGEST}"));
        assert!(image(&world, &["cosign"], &["sign"], variables).status.success());
        let calls = world.said("calls");
        let calls: Vec<&str> = calls.lines().collect();
        assert_eq!(calls.len(), 2, "{calls:?}");
        assert!(calls[0].starts_with("cosign sign") && calls[0].contains(option), "{calls:?}");
        assert!(
            calls[1].starts_with("cosign attest") && calls[1].contains("--predicate sbom.json"),
            "{calls:?}"
        );
        assert!(calls.iter().all(|line| line.ends_with(DIGEST)), "{calls:?}");
    }
}

#[test]
fn whose_signature_is_wanted_has_to_be_said() {
    let world = World::new();
    world.set("image.reference", &format!("registry.example.com/weft@{DIGEST}"));
    let output = image(&world, &["cosign"], &["verify"], &[]);
    assert!(!output.status.success() && complaint(&output).contains("SIGNER"), "{}", complaint(&output));
    assert_eq!(world.said("calls"), "");
    let signer = [("SIGNER", "https://git.example.com/shop"), ("ISSUER", "https://git.example.com")];
    assert!(image(&world, &["cosign"], &["verify"], &signer).status.success());
    assert!(world.said("calls").contains("--certificate-oidc-issuer https://git.example.com"));
    world.set("fails", "cosign verify");
    assert!(!image(&world, &["cosign"], &["verify"], &signer).status.success());
}

#[test]
fn nothing_is_scanned_or_signed_before_it_is_built() {
    for step in ["scan", "sign", "verify"] {
        let world = World::new();
        let output = image(&world, &["trivy", "cosign"], &[step], &[]);
        assert!(complaint(&output).contains("image build writes it"), "{step}: {}", complaint(&output));
        assert_eq!(world.said("calls"), "");
    }
}
