# `just --list` names what there is; each line is a command that works without just, too.

# A mesh on this machine, with everything going wrong that may
demo:
    cargo demo

# Formatting and lints, as CI asks for them
lint:
    cargo fmt --all --check
    cargo lint

# The tests of one crate, or those whose name holds a part: just test weft-proxy retries
test crate="" part="":
    cargo test {{ if crate == "" { "--workspace" } else { "-p " + crate } }} -- {{ part }}

# Attacks and hostile octets on real processes
verify:
    cargo build --workspace --bins --locked
    target/debug/weft-verify attacks
    target/debug/weft-verify hostile

# Fuzz targets, some seconds each: just fuzz 60 hop_http1
fuzz seconds="5" *targets:
    SECONDS_EACH={{ seconds }} fuzz/run {{ targets }}

# What follows from the code: definitions, references
generate:
    WEFT_WRITE=1 cargo test -p weft-resource --test crds
    WEFT_WRITE=1 cargo test -p weft-resource --test reference
    WEFT_WRITE=1 cargo test -p weft --bins reference
    WEFT_WRITE=1 cargo test -p weft-proxy --lib reference
    WEFT_WRITE=1 cargo test -p weft-control-plane --lib reference

# Numbers of the code: lengths, circles, documentation
house:
    cargo xtask house

# A static tarball, a Debian package and a Python wheel in target/packages
packages:
    packaging/build

# All of it, as CI does
ci:
    .ci/run
