# One image for every part of the platform; the command chooses which one runs.
#   docker build -t quasar .
FROM node:24-bookworm-slim AS web
WORKDIR /src
COPY package.json package-lock.json ./
COPY gen/typescript/package.json gen/typescript/
COPY web/package.json web/
COPY examples/clients/typescript/package.json examples/clients/typescript/
RUN npm ci --no-audit --no-fund
COPY gen/typescript gen/typescript
COPY web web
RUN npm run --workspace web build

FROM python:3.12-slim-bookworm AS build
ENV UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
RUN pip install --no-cache-dir uv==0.13.9
WORKDIR /src
COPY pyproject.toml uv.lock README.md LICENSE ./
# The dependencies change rarely: they get a layer of their own.
RUN uv sync --frozen --no-dev --no-install-project --extra ccxt --extra databento --extra otel --extra nats --project . && mv .venv /opt/quasar
COPY . .
RUN VIRTUAL_ENV=/opt/quasar uv pip install --no-deps --no-cache .

FROM python:3.12-slim-bookworm
LABEL org.opencontainers.image.title="Quasar" org.opencontainers.image.licenses="Apache-2.0"
# The platform runs as an account of its own; plug-ins get folders below its home only.
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/quasar quasar
COPY --from=build /opt/quasar /opt/quasar
COPY --from=web /src/web/dist /usr/share/quasar/web
ENV PATH=/opt/quasar/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    QUASAR_HOME=/var/lib/quasar \
    QUASAR_WEB_ROOT=/usr/share/quasar/web \
    QUASAR_LOG_FORMAT=json
USER quasar
WORKDIR /var/lib/quasar
EXPOSE 8000 8080 8081 8082
ENTRYPOINT ["quasar"]
CMD ["version"]
