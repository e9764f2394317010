# syntax=docker/dockerfile:1
# Three images, one per target; `make images` builds them all.
#
#   filter        the filter's two files and a `cp`: Kong's pods copy the files from it (k8s/)
#   filter-wasm   the filter alone, as plugin.wasm in one layer: Istio and Envoy Gateway fetch it (envoy/)
#   store         the command `tollgate`, which runs the store
#
# Tag and digest pin the base images, a lock file pins cargo's packages, and no path of the builder gets into what it
# builds.

FROM rust:1.95.0-slim-trixie@sha256:81099830a1e1d244607b9a7a30f3ff6ecadc52134a933b4635faba24f52840c9 AS build
# The image's own toolchain is the one in rust-toolchain.toml, without the components that only linters need.
ENV RUSTUP_TOOLCHAIN=1.95.0 CARGO_TARGET_DIR=/target
RUN rustup target add wasm32-wasip1
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/target \
    RUSTFLAGS="--remap-path-prefix=/src=tollgate --remap-path-prefix=/usr/local/cargo=cargo" \
      cargo build --locked --profile wasm --target wasm32-wasip1 -p tollgate \
    && cargo build --locked --release -p tollgate-cli --bin tollgate \
    && mkdir /out \
    && cargo run --locked --release -p wasm-trim -- /target/wasm32-wasip1/wasm/tollgate.wasm /out/tollgate.wasm \
    && install -m 755 /target/release/tollgate /out/tollgate \
    && /out/tollgate meta > /out/tollgate.meta.json \
    && chmod 644 /out/tollgate.wasm /out/tollgate.meta.json \
    && touch --date=@0 /out/*

FROM busybox:1.37.0-musl@sha256:222ad6d973c0d198014546a65cd02c5fdedcc172123c5b4c2bf0af636550bd94 AS filter
COPY --from=build /out/tollgate.wasm /out/tollgate.meta.json /tollgate/
LABEL org.opencontainers.image.title="Tollgate's filter for Kong" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
USER 65532:65532
# `docker run -v FOLDER:/opt/tollgate …` copies the files into FOLDER.
CMD ["cp", "/tollgate/tollgate.wasm", "/tollgate/tollgate.meta.json", "/opt/tollgate/"]

FROM scratch AS filter-wasm
COPY --from=build /out/tollgate.wasm /plugin.wasm
LABEL org.opencontainers.image.title="Tollgate's filter for Istio and Envoy Gateway" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"

FROM debian:13.2-slim@sha256:e711a7b30ec1261130d0a121050b4ed81d7fb28aeabcf4ea0c7876d4e9f5aca2 AS store
# The authorities to trust for rediss://.
COPY --from=build /etc/ssl/certs/ca-certificates.crt /etc/ssl/certs/ca-certificates.crt
COPY --from=build /out/tollgate /usr/local/bin/tollgate
LABEL org.opencontainers.image.title="Tollgate's store" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0"
USER 65532:65532
EXPOSE 7600
ENTRYPOINT ["tollgate"]
CMD ["store"]
