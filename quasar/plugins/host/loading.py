"""Finds the one class that a process is for: in uploaded code, whose bytes are checked first, or in the platform."""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import linecache
import sys
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any, Final

from quasar import errors
from quasar.plugins.jail.spec import Spec
from quasar.plugins.manifest import Kind, Manifest, read_manifest

MODULE: Final = "quasar_plugin"
"""Name of the module that a single uploaded file becomes."""
_BASES: Final = {
    Kind.PROVIDER: ("quasar.provider", "Provider"),
    Kind.BROKER: ("quasar.broker", "Broker"),
    Kind.STRATEGY: ("quasar.strategy", "Strategy"),
}


def load(spec: Spec) -> tuple[type[Any], Manifest]:
    """Load the class of a process.

    Raises:
        CodeRejected: The code is not what was stored, or holds no class of the kind, or several.
        Exception: Whatever the author's module raises when it is imported.
    """
    kind = Kind(spec.kind)
    if spec.builtin:
        module_name, _, class_name = spec.builtin.partition(":")
        found: type[Any] = getattr(importlib.import_module(module_name), class_name)
        return found, read_manifest(kind, found)
    content = Path(spec.path).read_bytes()
    if hashlib.sha256(content).hexdigest() != spec.sha256:
        raise errors.CodeRejected(f"{spec.file_name} must be the code that was stored, its SHA-256 differs")
    modules = _package(spec) if spec.file_name.endswith(".zip") else [_module(content, spec.file_name)]
    found = _only_class(kind, modules)
    module_path = spec.file_name if found.__module__ == MODULE else found.__module__.replace(".", "/") + ".py"
    return found, read_manifest(kind, found, module_path)


def base_of(kind: Kind) -> type[Any]:
    """Return the class that authors subclass."""
    module, name = _BASES[kind]
    base: type[Any] = getattr(importlib.import_module(module), name)
    return base


def _module(content: bytes, file_name: str) -> ModuleType:
    """Make a module of bytes: what was checked is what runs."""
    module = ModuleType(MODULE)
    module.__file__ = file_name
    sys.modules[MODULE] = module
    text = importlib.util.decode_source(content)
    # Tracebacks show the author's lines although there is no file of that name.
    linecache.cache[file_name] = (len(text), None, text.splitlines(keepends=True), file_name)
    exec(compile(text, file_name, "exec"), module.__dict__)  # noqa: S102 - running the author's code is the purpose
    return module


def _package(spec: Spec) -> list[ModuleType]:
    with zipfile.ZipFile(spec.path) as archive:
        names = [name for name in archive.namelist() if name.endswith(".py") and not name.startswith("__")]
    sys.path.insert(0, spec.path)
    modules = sorted({name.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for name in names})
    return [importlib.import_module(name) for name in modules if "test" not in name.split(".")[-1]]


def _only_class(kind: Kind, modules: list[ModuleType]) -> type[Any]:
    base = base_of(kind)
    own = {module.__name__ for module in modules}
    found = {
        value
        for module in modules
        for value in vars(module).values()
        if isinstance(value, type) and issubclass(value, base) and value.__module__ in own and _is_meant(value)
    }
    if len(found) != 1:
        names = ", ".join(sorted(one.__name__ for one in found)) or "none"
        raise errors.CodeRejected(f"the code must hold exactly one class that extends {base.__name__}, was {names}")
    return found.pop()


def _is_meant(value: type[Any]) -> bool:
    return not inspect.isabstract(value) and not value.__name__.startswith("_")
