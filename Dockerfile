# The server. For the CPU, without TensorFlow: docker build .        For NVIDIA's GPUs: docker build --build-arg LOCK=gpu .
# For the CPU with TensorFlow, where an extractor has no file for OpenVINO: docker build --build-arg LOCK=cpu .
ARG PYTHON=3.12-slim-trixie

FROM python:${PYTHON} AS builder
ARG LOCK=serve

# The libraries first: this layer lasts until the lock changes. Bytecode is made here, since nothing can be written
# later, and "unchecked", since no source can change later.
COPY requirements/${LOCK}.lock /tmp/requirements.lock
RUN python -m venv /opt/venv \
    && /opt/venv/bin/python -m pip install --no-cache-dir --disable-pip-version-check --no-compile --no-deps \
        --only-binary :all: --require-hashes --requirement /tmp/requirements.lock \
    && python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv/lib

# The shipped store stands apart from the code, so that another can be mounted in its place. All is readable by
# everybody, however strict the umask of the checkout was, and writable by root alone.
COPY LICENSE /srv/
COPY app /srv/app
COPY models /srv/models
RUN mv /srv/models/store /store \
    && chmod -R u=rwX,go=rX /srv /store \
    && python -m compileall -q --invalidation-mode unchecked-hash /srv/app /srv/models


FROM python:${PYTHON}

COPY --from=builder /opt/venv /opt/venv
COPY --from=builder /srv /srv
COPY --from=builder /store /store

# Made for a read-only root: what is written (caches of libraries in the home directory) goes to /tmp.
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
