# The studio in a container. On a CPU: docker build -t tevit-studio .
# On NVIDIA GPUs: docker build -t tevit-studio --build-arg BASE=nvidia/cuda:13.0.1-base-ubuntu24.04 .
# PIP_EXTRA_INDEX_URL: another index, such as PyTorch's own with builds for the CPU alone, which are a tenth of the size.
ARG BASE=ubuntu:24.04

FROM ${BASE} AS build
ARG PIP_EXTRA_INDEX_URL=""
# The base decides which version of Python there is.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-venv \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY pyproject.toml constraints.txt README.md LICENSE ./
COPY assets ./assets
COPY tevit ./tevit
COPY train ./train
COPY app ./app
RUN python3 -m venv /opt/tevit \
    && /opt/tevit/bin/pip install --no-cache-dir -c constraints.txt '.[app]'

FROM ${BASE}
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --gid 10001 tevit \
    && useradd --uid 10001 --gid tevit --no-log-init --create-home --home-dir /data tevit
COPY --from=build /opt/tevit /opt/tevit
ENV PATH=/opt/tevit/bin:$PATH \
    TEVIT_HOME=/data \
    NVIDIA_VISIBLE_DEVICES=all \
    NVIDIA_DRIVER_CAPABILITIES=compute,utility,video
USER 10001:10001
WORKDIR /data
VOLUME ["/data"]
EXPOSE 7860
HEALTHCHECK --interval=30s --timeout=5s --start-period=120s --retries=3 \
    CMD ["python3", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:7860/robots.txt', timeout=4)"]
ENTRYPOINT ["tevit", "studio", "--host", "0.0.0.0", "--port", "7860"]
# Without this file the studio does not start: others than its owner reach it.
CMD ["--auth", "/run/tevit/accounts"]
