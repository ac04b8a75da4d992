# The detector as a service: no torch, no root, no writes.
#
#   docker build --tag vae-detect .
#   docker run --read-only --cap-drop ALL --publish 8000:8000 vae-detect
#   docker run --read-only --cap-drop ALL --publish 8000:8000 --volume ./models:/models:ro vae-detect   # models/vae.onnx
#   docker run --read-only --cap-drop ALL --publish 9000:9000 --env VAE_DETECT_SERVE_PORT=9000 vae-detect

FROM python:3.11-slim AS builder
ARG EXTRA=edge
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_ROOT_USER_ACTION=ignore
WORKDIR /source
COPY pyproject.toml constraints.txt README.md LICENSE cli.py ./
COPY runtime runtime
COPY training training
COPY src src
# The environment has no pip of its own: nothing can be installed in the running container.
RUN python -m venv --without-pip /opt/vae-detect \
    && pip --python /opt/vae-detect/bin/python install --constraint constraints.txt ".[${EXTRA}]" \
    && pip --python /opt/vae-detect/bin/python check

FROM python:3.11-slim
ARG REVISION=unknown
LABEL org.opencontainers.image.title="vae-detect" \
      org.opencontainers.image.description="Anomaly detection with autoencoders: scores over HTTP, metrics for Prometheus" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="docker.io/library/python:3.11-slim"
# ONNX Runtime 1.29 and later, unless told not to, keeps a device id in the home folder and sends usage data.
# Settings of serve stand here, not in CMD: options beat the environment, where the health check looks for host and port.
ENV PATH=/opt/vae-detect/bin:$PATH PYTHONUNBUFFERED=1 ORT_DISABLE_TELEMETRY=1 \
    VAE_DETECT_SERVE_MODEL=/models/vae.onnx VAE_DETECT_SERVE_HOST=0.0.0.0
COPY --from=builder /opt/vae-detect /opt/vae-detect
# Mount a folder here to serve another detector. Not a VOLUME: that would give every container a writable copy.
COPY exported/*.onnx /models/
WORKDIR /models
# Shows that model and service load. It also leaves bytecode of the standard library, which the base image does not have:
# without it every start and every health check compiles 0.3 s of Python (more on a small board).
RUN vae-detect inspect vae.onnx && python -c "import vae_detect.runtime.service.app"
ENV PYTHONDONTWRITEBYTECODE=1
USER 65532:65532
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=15s --retries=3 CMD ["vae-detect", "health"]
ENTRYPOINT ["vae-detect"]
CMD ["serve"]
