# An image with `din` alone, for CI: docker build -t din . && docker run --rm -v "$PWD:/work" din check
FROM rust:1.95-slim-bookworm AS build
# A C compiler, for the code that libraries bring along.
RUN apt-get update && apt-get install --yes --no-install-recommends gcc libc6-dev && rm -rf /var/lib/apt/lists/*
WORKDIR /source
COPY . .
RUN cargo build --release --locked --package din

FROM debian:bookworm-slim
# `din diff` reads revisions through git.
RUN apt-get update && apt-get install --yes --no-install-recommends git && rm -rf /var/lib/apt/lists/*
# The mounted repository belongs to another user.
RUN git config --system --add safe.directory '*'
COPY --from=build /source/target/release/din /usr/local/bin/din
WORKDIR /work
ENTRYPOINT ["din"]
