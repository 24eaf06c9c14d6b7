"""Write everything that follows from the contract: `gen/`, and the API and error reference in `docs/reference/`.

    python scripts/gen.py            write what the toolchains here can write
    python scripts/gen.py --check    write to a temporary folder and fail when the committed files differ

Python needs nothing beyond the project's own environment. TypeScript needs Node with `npm ci` done, Go its toolchain.
A toolchain that is absent is said, and its output is left as it is.
"""

from __future__ import annotations

import argparse
import filecmp
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PROTO = ROOT / "proto"
THIRD_PARTY = PROTO / "third_party"
BIN = Path(sys.executable).parent
GO_PLUGINS = {
    "protoc-gen-go": "google.golang.org/protobuf/cmd/protoc-gen-go@v1.36.9",
    "protoc-gen-go-grpc": "google.golang.org/grpc/cmd/protoc-gen-go-grpc@v1.5.1",
}
GO_MODULE = "github.com/quasar-platform/quasar/gen/go"


@dataclass(frozen=True, slots=True)
class Target:
    """One thing that is written: a folder or a file below the root, and what writes it."""

    path: str
    write: Callable[[Path], None]
    missing: Callable[[], str | None]
    """Return why this target cannot be written here, or None."""


def always() -> str | None:
    """Say that nothing is missing."""
    return None


def run(*args: str | Path, env: dict[str, str] | None = None) -> None:
    """Run a tool and stop with its own words when it fails."""
    done = subprocess.run(
        [str(a) for a in args], cwd=ROOT, env={**os.environ, **(env or {})}, capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(str(a) for a in args[:3])} … failed:\n{done.stdout}{done.stderr}")


def protos(*folders: Path) -> list[str]:
    """Return the contract's files relative to their import root, sorted."""
    return sorted(
        str(path.relative_to(root))
        for root in folders
        for path in root.rglob("*.proto")
        if not (root == PROTO and THIRD_PARTY in path.parents)
    )


def protoc(*args: str, files: list[str]) -> None:
    """Run grpcio-tools' compiler with the project's import roots."""
    import grpc_tools

    wellknown = Path(grpc_tools.__file__).parent / "_proto"
    includes = [f"-I{PROTO}", f"-I{THIRD_PARTY}", f"-I{wellknown}"]
    path = f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"  # the plug-ins live beside this interpreter
    run(sys.executable, "-m", "grpc_tools.protoc", *includes, *args, *files, env={"PATH": path})


# Generated modules import each other by the proto path; the package is `quasar_proto` so that it never hides `quasar`.
_IMPORT = re.compile(r"^(\s*(?:from|import) )(?:quasar|buf)(\.\w+)", re.MULTILINE)
_TYPE = re.compile(r"(?<![\w.\"/])(?:quasar|buf)((?:\.\w+)+_pb2)")


def rewrite_python(text: str) -> str:
    """Return a generated module with its imports below `quasar_proto`."""
    text = _IMPORT.sub(lambda m: f"{m[1]}quasar_proto{'.buf' if 'buf' in m[0] else ''}{m[2]}", text)
    return _TYPE.sub(lambda m: f"quasar_proto{'.buf' if m[0].startswith('buf') else ''}{m[1]}", text)


def write_python(out: Path) -> None:
    """Write official protobuf messages, gRPC stubs and their types, as the package `quasar_proto`."""
    with tempfile.TemporaryDirectory() as name:
        raw = Path(name)
        ours = protos(PROTO)
        services = [f for f in ours if f.endswith("_service.proto") or "/plugin/" in f]
        protoc(f"--python_out={raw}", f"--mypy_out=quiet:{raw}", files=[*ours, "buf/validate/validate.proto"])
        protoc(f"--grpc_python_out={raw}", f"--mypy_grpc_out=quiet:{raw}", files=services)
        for source in sorted(raw.rglob("*.py*")):
            parts = source.relative_to(raw).parts
            target = out.joinpath(*(parts[1:] if parts[0] == "quasar" else parts))
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(rewrite_python(source.read_text()))
    mark_packages(out, "Messages, stubs and types generated from `proto/` by `make gen`.")
    (out / "py.typed").touch()


def mark_packages(out: Path, docstring: str) -> None:
    """Give every folder an `__init__.py`, so that tools see ordinary packages."""
    for folder in [out, *(p for p in sorted(out.rglob("*")) if p.is_dir())]:
        init = folder / "__init__.py"
        if not init.exists():
            init.write_text(f'"""{docstring}"""\n')


def write_betterproto(out: Path) -> None:
    """Write the typed dataclass messages, as the package `quasar_client`."""
    with tempfile.TemporaryDirectory() as name:
        raw = Path(name)
        protoc(
            f"--python_betterproto2_out={raw}",
            "--python_betterproto2_opt=client_generation=none,server_generation=none",
            files=protos(PROTO),
        )
        for source in sorted(raw.rglob("*.py")):
            parts = source.relative_to(raw).parts
            ours = parts[0] == "quasar"
            target = out.joinpath(*(parts[1:] if ours else parts))
            target.parent.mkdir(parents=True, exist_ok=True)
            text = source.read_text()
            # `quasar_client.ops.v1` rather than `quasar_client.quasar.ops.v1`: what pointed at the root loses a dot.
            target.write_text(re.sub(r"from \.\.\.\.(?=[\w ])", "from ...", text) if ours else text)
    mark_packages(out, "Typed dataclass messages generated from `proto/` by `make gen`.")
    (out / "py.typed").touch()


def write_typescript(out: Path) -> None:
    """Write protobuf-es messages and service descriptors."""
    plugin = ROOT / "node_modules" / ".bin" / "protoc-gen-es"
    out.mkdir(parents=True, exist_ok=True)
    files = [*protos(PROTO), "buf/validate/validate.proto", "google/rpc/status.proto", "google/rpc/error_details.proto"]
    protoc(f"--plugin=protoc-gen-es={plugin}", f"--es_out={out}", "--es_opt=target=ts,import_extension=js", files=files)


def typescript_missing() -> str | None:
    """Say whether Node and the generator are there."""
    if shutil.which("node") is None:
        return "Node is not installed"
    return None if (ROOT / "node_modules" / ".bin" / "protoc-gen-es").exists() else "`npm ci` has not been run"


def write_go(out: Path) -> None:
    """Write Go messages and gRPC stubs."""
    tools = ROOT / ".build" / "go-tools"
    for name, module in GO_PLUGINS.items():
        if not (tools / name).exists():
            run("go", "install", module, env={"GOBIN": str(tools)})
    mapping = f"Mbuf/validate/validate.proto={GO_MODULE}/buf/validate;validate"
    files = [*protos(PROTO), "buf/validate/validate.proto"]
    services = [f for f in protos(PROTO) if f.endswith("_service.proto") or "/plugin/" in f]
    out.mkdir(parents=True, exist_ok=True)
    for plugin, chosen in (("go", files), ("go-grpc", services)):
        protoc(
            f"--plugin=protoc-gen-{plugin}={tools / f'protoc-gen-{plugin}'}",
            f"--{plugin}_out={out}",
            f"--{plugin}_opt=module={GO_MODULE},{mapping}",
            files=chosen,
        )


def go_missing() -> str | None:
    """Say whether a Go toolchain is there."""
    return None if shutil.which("go") else "Go is not installed"


def write_descriptors(out: Path) -> None:
    """Write the whole contract as one FileDescriptorSet, for languages without a generator here."""
    out.parent.mkdir(parents=True, exist_ok=True)
    protoc(f"--descriptor_set_out={out}", "--include_imports", files=protos(PROTO))


def write_reference(out: Path) -> None:
    """Write the API reference from the comments of the contract."""
    from scripts import api_reference

    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        image = Path(name) / "contract.binpb"
        protoc(f"--descriptor_set_out={image}", "--include_source_info", "--include_imports", files=protos(PROTO))
        out.write_text(api_reference.api_markdown(image.read_bytes()))


def write_errors(out: Path) -> None:
    """Write the error reference from the enum of reasons."""
    from scripts import api_reference

    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        image = Path(name) / "contract.binpb"
        protoc(f"--descriptor_set_out={image}", "--include_source_info", files=["quasar/common/v1/errors.proto"])
        out.write_text(api_reference.errors_markdown(image.read_bytes()))


TARGETS = (
    Target("gen/python/quasar_proto", write_python, always),
    Target("gen/python/quasar_client", write_betterproto, always),
    Target("gen/typescript/src", write_typescript, typescript_missing),
    Target("gen/go", write_go, go_missing),
    Target("gen/descriptors/quasar.binpb", write_descriptors, always),
    Target("docs/reference/api.md", write_reference, always),
    Target("docs/reference/errors.md", write_errors, always),
)

# Written by hand beside the generated files.
KEPT = {"go.mod", "go.sum", "README.md", "package.json", "tsconfig.json"}


def files_of(path: Path) -> Iterator[Path]:
    """Yield the generated files at or below a path."""
    if path.is_file():
        yield path
        return
    for item in sorted(path.rglob("*")):
        if (
            item.is_file()
            and item.name not in KEPT
            and "__pycache__" not in item.parts
            and "node_modules" not in item.parts
        ):
            yield item


def differences(fresh: Path, committed: Path) -> list[str]:
    """Return what differs between a fresh output and the committed one."""
    if fresh.is_file():
        same = committed.is_file() and filecmp.cmp(fresh, committed, shallow=False)
        return [] if same else [str(committed.relative_to(ROOT))]
    new = {p.relative_to(fresh) for p in files_of(fresh)}
    old = {p.relative_to(committed) for p in files_of(committed)}
    changed = {p for p in new & old if not filecmp.cmp(fresh / p, committed / p, shallow=False)}
    return sorted(str((committed / p).relative_to(ROOT)) for p in (new ^ old) | changed)


def replace(fresh: Path, committed: Path) -> None:
    """Put a fresh output where the committed one is, leaving what is written by hand."""
    committed.parent.mkdir(parents=True, exist_ok=True)
    if fresh.is_file():
        shutil.copyfile(fresh, committed)
        return
    keep = {p.relative_to(fresh) for p in files_of(fresh)}
    for old in list(files_of(committed)):
        if old.relative_to(committed) not in keep:
            old.unlink()
    shutil.copytree(fresh, committed, dirs_exist_ok=True)


def main() -> int:
    """Write or check every target; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--check", action="store_true", help="change nothing; fail when something is stale")
    parser.add_argument("--only", default="", help="only targets whose path contains this text")
    options = parser.parse_args()
    sys.path.insert(0, str(ROOT))
    stale: list[str] = []
    for target in TARGETS:
        if options.only not in target.path:
            continue
        if reason := target.missing():
            print(f"  {target.path}: left as it is ({reason})")
            continue
        with tempfile.TemporaryDirectory() as name:
            fresh = Path(name) / Path(target.path).name
            target.write(fresh)
            stale += differences(fresh, ROOT / target.path)
            if not options.check:
                replace(fresh, ROOT / target.path)
    if options.check and stale:
        print("Stale, run `make gen` and commit:", *stale[:20], sep="\n  ")
        return 1
    print(f"gen: {len(stale)} files written" if not options.check else "gen: fresh")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
