"""The house keeps its floor plan: who imports generated code, how modules are named and how long they get."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("registry", "datahub", "strategy_engine")
PACKAGES = ("quasar", *SERVICES, "grpc_gateway", "tui")
GENERATED = ("quasar_proto", "quasar_client")
# The edge of the house, where messages become values and back.
MAY_IMPORT_GENERATED = (
    "quasar/rpc/",
    "quasar/client/",
    "quasar/convert/",
    "quasar/demo/",
    "quasar/plugins/",
    "quasar/testing/",
    "grpc_gateway/",
    "tui/commands",
    "tui/feeds",
    "tui/session",
    *(f"{service}/rpc/" for service in SERVICES),
)
VAGUE = re.compile(r"^(utils?|helpers?|common|misc|base|managers?|handlers?)$")


def modules() -> Iterator[Path]:
    for package in PACKAGES:
        yield from (p for p in sorted((ROOT / package).rglob("*.py")) if "__pycache__" not in p.parts)


def imported(tree: ast.Module) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


def test_generated_code_stops_at_the_edge() -> None:
    inside = []
    for path in modules():
        name = path.relative_to(ROOT).as_posix()
        uses = {module.split(".")[0] for module in imported(ast.parse(path.read_text()))}
        if uses & set(GENERATED) and not name.startswith(MAY_IMPORT_GENERATED):
            inside.append(name)
    assert inside == []


def test_status_codes_are_named_only_where_errors_are_mapped() -> None:
    naming = [
        name
        for path in modules()
        if "StatusCode" in path.read_text()
        and not (name := path.relative_to(ROOT).as_posix()).startswith(
            ("quasar/rpc/", "quasar/client/", "quasar/tracing.py", "grpc_gateway/")  # tracing: those of OpenTelemetry
        )
    ]
    assert naming == []


def test_every_module_is_named_after_its_noun() -> None:
    vague = [path.relative_to(ROOT).as_posix() for path in modules() if VAGUE.match(path.stem)]
    assert vague == []


def test_modules_stay_readable() -> None:
    long = {
        path.relative_to(ROOT).as_posix(): n for path in modules() if (n := len(path.read_text().splitlines())) > 400
    }
    assert long == {}


def test_every_service_has_the_same_floor_plan() -> None:
    wanted = ("__init__.py", "__main__.py", "config.py", "app.py")
    missing = [f"{service}/{name}" for service in SERVICES for name in wanted if not (ROOT / service / name).is_file()]
    assert missing == []
    long = [s for s in SERVICES if len((ROOT / s / "__main__.py").read_text().splitlines()) > 20]
    assert long == []


def test_sql_stands_in_sql_files() -> None:
    statement = re.compile(
        r"\b(select\b.+\bfrom|insert\s+into|update\s+\w+\s+set|delete\s+from)\b", re.IGNORECASE | re.DOTALL
    )
    found = []
    for path in modules():
        name = path.relative_to(ROOT).as_posix()
        if not name.startswith(tuple(f"{s}/" for s in SERVICES)):
            continue
        texts = [n for n in ast.walk(ast.parse(path.read_text())) if isinstance(n, ast.Constant)]
        found += [f"{name}:{n.lineno}" for n in texts if isinstance(n.value, str) and statement.search(n.value)]
    assert [f for f in found if not _is_docstring_place(f)] == []


def _is_docstring_place(place: str) -> bool:
    name, line = place.rsplit(":", 1)
    tree = ast.parse((ROOT / name).read_text())
    scopes = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    docs = {node.body[0].lineno for node in ast.walk(tree) if isinstance(node, scopes) and ast.get_docstring(node)}
    return int(line) in docs


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_does_not_load_what_it_does_not_need_to_start(service: str) -> None:
    heavy = ("pandas", "pyarrow", "textual", "ccxt", "databento")
    code = f"import sys, {service}.app; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True, cwd=ROOT
    )
    assert done.stdout.strip() == "[]"
