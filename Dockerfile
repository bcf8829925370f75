# Image of the server.
#   CPU, without TensorFlow:                                          docker build .
#   NVIDIA GPU:                                                       docker build --build-arg LOCK=gpu .
#   CPU with TensorFlow, for extractors without an OpenVINO file:     docker build --build-arg LOCK=cpu .
#
# To pin the base image to a digest, so that a changed tag cannot change the image (docs/operations.md#base-image):
#   docker build --build-arg DIGEST=sha256:... .
ARG PYTHON=3.12-slim-trixie
ARG DIGEST=

FROM python:${PYTHON}${DIGEST:+@${DIGEST}} AS builder
ARG LOCK=serve

# Libraries first: this layer is cached until the lock file changes. Bytecode is compiled here because the file system is
# read-only later, and "unchecked" because the sources never change.
COPY requirements/${LOCK}.lock /tmp/requirements.lock
RUN python -m venv /opt/venv \
    && /opt/venv/bin/python -m pip install --no-cache-dir --disable-pip-version-check --no-compile --no-deps \
        --only-binary :all: --require-hashes --requirement /tmp/requirements.lock \
    && python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv/lib

# The shipped store is outside the code, so that another store can be mounted in its place. All files are readable by
# every user, whatever the umask of the checkout, and writable by root only.
COPY LICENSE NOTICE /srv/
COPY app /srv/app
COPY models /srv/models
RUN mv /srv/models/store /store \
    && chmod -R u=rwX,go=rX /srv /store \
    && python -m compileall -q --invalidation-mode unchecked-hash /srv/app /srv/models


FROM python:${PYTHON}${DIGEST:+@${DIGEST}}

COPY --from=builder /opt/venv /opt/venv
COPY --from=builder /srv /srv
COPY --from=builder /store /store

# The root file system is read-only: libraries write their caches to /tmp.
ENV PATH=/opt/venv/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    HOME=/tmp \
    TMPDIR=/tmp \
    APP_HOST=0.0.0.0 \
    APP_PORT=8000 \
    APP_STORE=/store

WORKDIR /srv
USER 10001:10001
EXPOSE 8000
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-m", "app.health"]
CMD ["python", "-m", "app"]
