# Images that hold one static program and the list of what is in it: no shell, no libraries, no user with rights.
#
#   docker build --target proxy         -t weft-proxy         .
#   docker build --target control-plane -t weft-control-plane .
#   docker build --target cni           -t weft-cni           .
#   docker build --target demo          -t weft               .
#
# podman and buildah take the same options. Needs nothing but one of these; --platform linux/arm64 builds for Arm, there or by
# emulation. The same sources give the same programs; for the same layers too, name a time (--build-arg SOURCE_DATE_EPOCH=... with
# buildah's --timestamp or BuildKit's rewrite-timestamp).
FROM docker.io/library/rust:1.95-bookworm AS build
WORKDIR /src
RUN apt-get update && apt-get install -y --no-install-recommends cmake && rm -rf /var/lib/apt/lists/*
RUN cargo install --locked --version 0.5.9 cargo-cyclonedx --root /tools
COPY . .
# Libraries go into the program: the image has none.
ENV RUSTFLAGS="-C target-feature=+crt-static"
ARG SOURCE_DATE_EPOCH=0
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    target=$(rustc -vV | sed -n 's/^host: //p') && \
    cargo build --profile dist --locked --target "$target" -p weft-proxy -p weft-control-plane -p weft-redirect -p weft && \
    mkdir /out && cp target/"$target"/dist/weft-proxy target/"$target"/dist/weft-control-plane \
        target/"$target"/dist/weft-cni target/"$target"/dist/weft /out/
# What is inside, as CycloneDX: one list for each program, without what only builds it.
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    /tools/bin/cargo-cyclonedx cyclonedx --format json --spec-version 1.5 --no-build-deps --override-filename sbom && \
    for package in proxy control-plane crates/redirect cli; do \
        mv "$package/sbom.json" "/out/sbom-$(basename "$package").json"; \
    done
# Folders that volumes are mounted on: a new volume has the owner of what it covers.
RUN mkdir -p /out/var/lib/weft /out/var/run/weft && find /out -exec touch --date="@$SOURCE_DATE_EPOCH" {} +

FROM scratch AS proxy
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="weft-proxy" \
      org.opencontainers.image.description="The data plane of Weft: a sidecar proxy" \
      org.opencontainers.image.source="https://github.com/weft-mesh/weft" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/weft-proxy /weft-proxy
COPY --from=build /out/sbom-proxy.json /sbom.json
USER 2102:2102
ENTRYPOINT ["/weft-proxy"]

FROM scratch AS control-plane
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="weft-control-plane" \
      org.opencontainers.image.description="The control plane of Weft" \
      org.opencontainers.image.source="https://github.com/weft-mesh/weft" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/weft-control-plane /weft-control-plane
COPY --from=build /out/sbom-control-plane.json /sbom.json
COPY --from=build --chown=65532:65532 /out/var /var
USER 65532:65532
ENTRYPOINT ["/weft-control-plane"]

# The plugin and its installer, which changes folders of the node and so runs as root.
FROM scratch AS cni
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="weft-cni" \
      org.opencontainers.image.description="Weft's CNI plugin: leads pods' connections to their sidecars" \
      org.opencontainers.image.source="https://github.com/weft-mesh/weft" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/weft-cni /weft-cni
COPY --from=build /out/sbom-redirect.json /sbom.json
ENTRYPOINT ["/weft-cni"]

# The whole command, with the demo's services.
FROM scratch AS demo
ARG VERSION=0.1.0
ARG REVISION=
LABEL org.opencontainers.image.title="weft" \
      org.opencontainers.image.description="Weft in one command, with the services of its demo" \
      org.opencontainers.image.source="https://github.com/weft-mesh/weft" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.licenses="Apache-2.0"
COPY --from=build /out/weft /weft
COPY --from=build /out/sbom-cli.json /sbom.json
COPY --from=build --chown=65532:65532 /out/var /var
USER 65532:65532
ENTRYPOINT ["/weft"]
