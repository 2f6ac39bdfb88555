# Images that hold one static program and nothing else: no shell, no libraries, no user with rights.
#
#   docker build --target proxy         -t weft-proxy         .
#   docker build --target control-plane -t weft-control-plane .
#   docker build --target cni           -t weft-cni           .
#   docker build --target demo          -t weft               .
#
# podman and buildah take the same options. Needs nothing but one of these.
FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /src
RUN apt-get update && apt-get install -y --no-install-recommends cmake && rm -rf /var/lib/apt/lists/*
COPY . .
# Libraries go into the program: the image has none.
ENV RUSTFLAGS="-C target-feature=+crt-static"
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    target=$(rustc -vV | sed -n 's/^host: //p') && \
    cargo build --release --locked --target "$target" -p weft-proxy -p weft-control-plane -p weft-redirect -p weft && \
    mkdir /out && cp target/"$target"/release/weft-proxy target/"$target"/release/weft-control-plane \
        target/"$target"/release/weft-cni target/"$target"/release/weft /out/
# What is inside, as CycloneDX: one list for each program.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    cargo install --locked cargo-cyclonedx --root /tools && \
    for package in proxy control-plane crates/redirect cli; do \
        /tools/bin/cargo-cyclonedx cyclonedx --manifest-path "$package/Cargo.toml" --format json --override-filename sbom && \
        mv "$package/sbom.json" "/out/sbom-$(basename "$package").json"; \
    done

FROM scratch AS proxy
LABEL org.opencontainers.image.title="weft-proxy" \
      org.opencontainers.image.description="The data plane of Weft: a sidecar proxy" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/weft-proxy /weft-proxy
COPY --from=build /out/sbom-proxy.json /sbom.json
USER 2102:2102
ENTRYPOINT ["/weft-proxy"]

FROM scratch AS control-plane
LABEL org.opencontainers.image.title="weft-control-plane" \
      org.opencontainers.image.description="The control plane of Weft" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/weft-control-plane /weft-control-plane
COPY --from=build /out/sbom-control-plane.json /sbom.json
USER 65532:65532
ENTRYPOINT ["/weft-control-plane"]

# The plugin and its installer, which changes folders of the node and so runs as root.
FROM scratch AS cni
LABEL org.opencontainers.image.title="weft-cni" \
      org.opencontainers.image.description="Weft's CNI plugin: leads pods' connections to their sidecars" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/weft-cni /weft-cni
COPY --from=build /out/sbom-redirect.json /sbom.json
ENTRYPOINT ["/weft-cni"]

# The whole command, with the demo's services.
FROM scratch AS demo
LABEL org.opencontainers.image.title="weft" \
      org.opencontainers.image.description="Weft in one command, with the services of its demo" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/weft /weft
COPY --from=build /out/sbom-cli.json /sbom.json
USER 65532:65532
ENTRYPOINT ["/weft"]
