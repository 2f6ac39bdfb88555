//! Compiles the contracts with a compiler written in Rust, so that no protoc has to be installed.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = [
        "weft/v1/names.proto",
        "weft/v1/identity.proto",
        "weft/v1/registration.proto",
        "weft/v1/resources.proto",
        "weft/v1/telemetry.proto",
    ];
    println!("cargo::rerun-if-changed=weft");
    let descriptors = protox::compile(files, ["."])?;
    tonic_prost_build::configure().bytes(".weft.v1").compile_fds(descriptors)?;
    Ok(())
}
