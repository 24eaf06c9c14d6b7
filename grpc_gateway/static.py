"""The built frontend: its files, and its first page for every address that is a place inside it."""

from __future__ import annotations

from pathlib import Path

from aiohttp import web

# The page loads nothing from elsewhere; charts set inline styles.
SECURITY_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'self'; connect-src 'self'; img-src 'self' data:; style-src 'self' 'unsafe-inline'; "
        "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    ),
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}
_FOREVER = "public, max-age=31536000, immutable"

NOT_BUILT = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Quasar</title>
<body style="font:16px/1.5 system-ui;max-width:40rem;margin:4rem auto;padding:0 1rem">
<h1>Quasar is running</h1>
<p>The web frontend has not been built: that needs Node. Install Node 20 or newer and run <code>make web</code>,
then reload this page.</p>
<p>Everything else works without it: <code>quasar status</code>, the console <code>quasar tui</code>, grpcurl and the
clients.</p>
"""


class Frontend:
    """Serves the files below one folder."""

    def __init__(self, root: Path) -> None:
        """Keep the folder; it may appear later, when the frontend is built while the gateway runs."""
        self._root = root.resolve()

    def _file(self, relative: str) -> Path | None:
        try:
            file = (self._root / relative).resolve()
            return file if file.is_relative_to(self._root) and file.is_file() else None
        except (OSError, ValueError):
            return None  # a name that no file can have

    async def get(self, request: web.Request) -> web.StreamResponse:
        """Answer a GET: a file when there is one, else the first page.

        A missing file below `assets/` is a 404, for there the first page would be taken for a script.
        """
        relative = request.path.lstrip("/")
        file = self._file(relative)
        if file is not None:
            cache = _FOREVER if relative.startswith("assets/") else "no-cache"
            return web.FileResponse(file, headers={**SECURITY_HEADERS, "Cache-Control": cache})
        if relative.startswith("assets/"):
            raise web.HTTPNotFound(text="no such file\n")
        index = self._root / "index.html"
        if not index.is_file():
            return web.Response(
                text=NOT_BUILT, content_type="text/html", status=503, headers={"Cache-Control": "no-store"}
            )
        return web.FileResponse(index, headers={**SECURITY_HEADERS, "Cache-Control": "no-cache"})
