# One image for the API and the workers; the command decides.
FROM python:3.11-slim-bookworm AS build
WORKDIR /src
RUN pip install --no-cache-dir uv
COPY pyproject.toml constraints.txt README.md LICENSE alembic.ini ./
COPY app app
COPY chat chat
COPY client client
COPY codec codec
COPY serving serving
COPY training training
COPY workers workers
COPY migrations migrations
# "[train]" for trainers, "[serve]" for inference; the hub itself needs neither.
ARG EXTRAS=""
RUN uv venv /opt/clade && uv pip install --python /opt/clade/bin/python -c constraints.txt ".${EXTRAS}"

FROM python:3.11-slim-bookworm
COPY --from=build /opt/clade /opt/clade
ENV PATH=/opt/clade/bin:$PATH NUMBA_CACHE_DIR=/var/cache/clade CLADE_DATA=/data CLADE_LOG_JSON=true
RUN useradd --system --uid 999 --create-home clade && mkdir -p /data /var/cache/clade \
    && chown clade /data /var/cache/clade
USER clade
RUN clade warm
VOLUME /data
EXPOSE 8000
HEALTHCHECK --interval=10s --timeout=3s CMD ["python", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8000/readyz', timeout=2)"]
CMD ["clade", "serve", "--host", "0.0.0.0", "--port", "8000"]
