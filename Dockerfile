# One image with every program; compose.yaml says which one a container runs.
FROM rust:1.95-bookworm AS build
WORKDIR /src
COPY . .
RUN --mount=type=cache,target=/usr/local/cargo/registry \
    --mount=type=cache,target=/src/target \
    cargo build --release --locked --workspace --bins \
 && mkdir /out \
 && cp target/release/streaming-service target/release/streaming-control \
       target/release/streaming-dataplane target/release/streaming-worker /out/

FROM debian:bookworm-slim
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates curl ffmpeg \
 && rm -rf /var/lib/apt/lists/* \
 && useradd --system --uid 10001 --home-dir /nonexistent streaming \
 # Named volumes take over these folders' owner.
 && install -d -o streaming -g streaming -m 0700 /keys /store /scratch
COPY --from=build /out/ /usr/local/bin/
USER streaming
ENV LOG_FORMAT=json STREAMING_SCRATCH=/scratch
CMD ["streaming-service", "--help"]
