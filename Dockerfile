# syntax=docker/dockerfile:1
# The service alone: no shell, no package manager, no root. Run it with a read-only root and a writable /data.
#   docker build -t medseal . && docker run --read-only --tmpfs /tmp -v medseal:/data -p 8080:8080 -p 2575:2575 medseal

FROM rust:1.95-bookworm AS build
# aws-lc is built from its sources.
RUN apt-get update && apt-get install -y --no-install-recommends cmake=3.25.* && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY bridge bridge
COPY mappings mappings
COPY notary notary
COPY openapi openapi
COPY second-opinion second-opinion
RUN --mount=type=cache,target=/usr/local/cargo/registry --mount=type=cache,target=/src/target \
    cargo build --release --locked --package bridge --bin medseal \
    && cp target/release/medseal /medseal \
    && install -d -m 0700 -o 65532 -g 65532 /data

# The C library, certificates and a user; nothing else.
FROM gcr.io/distroless/cc-debian12:nonroot
COPY --from=build /medseal /usr/local/bin/medseal
COPY --from=build --chown=65532:65532 /data /data
USER 65532:65532
WORKDIR /data
VOLUME /data
EXPOSE 8080 2575 9464
# Asked over the socket in the data directory: there is no shell here to ask /readyz with. Kubernetes has probes of its own.
HEALTHCHECK --interval=10s --timeout=15s --start-period=60s CMD ["/usr/local/bin/medseal", "health", "--data", "/data"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/medseal"]
CMD ["serve", "--data", "/data", "--http", "0.0.0.0:8080", "--mllp", "0.0.0.0:2575"]
