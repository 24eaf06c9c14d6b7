"""What happens when a module is only imported: it must declare, and do nothing."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Final

from quasar.plugins.reading.source import Function, Source
from quasar.plugins.report import Severity

_FORBIDDEN: Final = (
    "open",
    "exec",
    "eval",
    "input",
    "__import__",
    "socket.",
    "subprocess.",
    "multiprocessing.",
    "requests.",
    "httpx.",
    "urllib.request.",
    "urllib3.",
    "http.client.",
    "aiohttp.",
    "websockets.",
    "websocket.",
    "ftplib.",
    "smtplib.",
    "asyncio.run",
    "asyncio.get_event_loop",
    "asyncio.create_task",
    "threading.Thread",
    "concurrent.futures.",
    "time.sleep",
    "os.system",
    "os.popen",
    "os.fork",
    "os.exec",
    "os.spawn",
    "os.kill",
    "os._exit",
    "os.remove",
    "os.unlink",
    "os.rmdir",
    "os.mkdir",
    "os.makedirs",
    "os.chdir",
    "os.environ",
    "os.getenv",
    "sys.exit",
    "shutil.",
    "ctypes.",
    "pickle.load",
    "signal.",
)
_METHODS: Final = frozenset(
    {"read_text", "read_bytes", "write_text", "write_bytes", "unlink", "mkdir", "touch", "iterdir", "glob", "connect"}
)
_REMEDY: Final = "move it into a method; `start` is called when the settings are there"


def read_side_effects(source: Source) -> None:
    """Note calls that a mere import would make."""
    for node in _at_import(source.tree.body):
        if isinstance(node, ast.Call):
            name = source.dotted(node.func)
            if _is_forbidden(name) or (isinstance(node.func, ast.Attribute) and node.func.attr in _METHODS):
                shown = name or f"….{getattr(node.func, 'attr', '')}"
                text = f"importing the code must do nothing, but calls {shown}"
                source.add(Severity.ERROR, "import-side-effect", node, text, _REMEDY)
            elif name == "print":
                text = "importing the code prints"
                source.add(Severity.WARNING, "import-prints", node, text, _REMEDY)
        elif isinstance(node, ast.While):
            text = "importing the code runs a while loop"
            source.add(Severity.ERROR, "import-side-effect", node, text, _REMEDY)


def _is_forbidden(name: str) -> bool:
    return any(
        name.startswith(one) if one.endswith(".") else name == one or name.startswith(f"{one}.") for one in _FORBIDDEN
    )


def _at_import(statements: list[ast.stmt]) -> Iterator[ast.AST]:
    """Yield the nodes that run at import: not the bodies of functions, nor what is meant for `python file.py`."""
    waiting: list[ast.AST] = list(statements)
    while waiting:
        node = waiting.pop(0)
        if isinstance(node, Function):
            waiting.extend([*node.decorator_list, *node.args.defaults, *(d for d in node.args.kw_defaults if d)])
            continue
        if isinstance(node, ast.Lambda) or (isinstance(node, ast.If) and _is_main(node.test)):
            continue
        yield node
        waiting.extend(ast.iter_child_nodes(node))


def _is_main(test: ast.expr) -> bool:
    return any(isinstance(node, ast.Name) and node.id == "__name__" for node in ast.walk(test))
