# One small image per program:
#
#   docker build --target control   -t streaming-control:0.1.0 .
#   docker build --target dataplane -t streaming-dataplane:0.1.0 .
#   docker build --target worker    -t streaming-worker:0.1.0 .
#   docker build --target service   -t streaming-service:0.1.0 .   (the command line: keys, tokens, admin work)
#
# Only the worker's image contains FFmpeg. No image runs as root or writes outside of its volumes.
#
FROM node:24.19.0-bookworm-slim AS web
WORKDIR /src/web
# The API's description, from which the console's types are made.
COPY dataplane/src/rest/openapi.json ../dataplane/src/rest/
COPY web .
RUN --mount=type=cache,target=/var/cache/npm npm ci --cache /var/cache/npm --no-audit --no-fund && npm run build

# The next two lines repeat the version of rust-toolchain.toml; the variable keeps rustup from installing the
# components that the file names.
FROM rust:1.95.0-bookworm AS build
ENV RUSTUP_TOOLCHAIN=1.95.0
WORKDIR /src
COPY . .
COPY --from=web /src/web/dist web/dist
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --workspace --bins \
 && mkdir /out \
 && cp target/release/streaming-service target/release/streaming-control \
       target/release/streaming-dataplane target/release/streaming-worker /out/

FROM debian:bookworm-slim AS base
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && groupadd --system --gid 10001 streaming \
 && useradd --system --uid 10001 --gid 10001 --home-dir /nonexistent streaming \
 # Volumes mounted here get the owner of these folders.
 && install -d -o streaming -g streaming -m 0700 /keys /store /scratch /tokens/dataplane /tokens/worker
ENV LOG_FORMAT=json
USER 10001:10001

FROM base AS control
COPY --from=build /out/streaming-control /usr/local/bin/
EXPOSE 50051
ENTRYPOINT ["streaming-control"]
CMD ["serve"]

FROM base AS dataplane
COPY --from=build /out/streaming-dataplane /usr/local/bin/
EXPOSE 8080
ENTRYPOINT ["streaming-dataplane"]
CMD ["serve"]

FROM base AS worker
USER root
RUN apt-get update \
 && apt-get install -y --no-install-recommends ffmpeg \
 && rm -rf /var/lib/apt/lists/*
USER 10001:10001
COPY --from=build /out/streaming-worker /usr/local/bin/
ENV STREAMING_SCRATCH=/scratch
ENTRYPOINT ["streaming-worker"]
CMD ["run"]

FROM base AS service
COPY --from=build /out/streaming-service /usr/local/bin/
ENTRYPOINT ["streaming-service"]
CMD ["--help"]
