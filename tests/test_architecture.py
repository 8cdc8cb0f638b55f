"""The floors of the house and the fences between them, read from the source by `ast`."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator
from graphlib import TopologicalSorter
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "server" / "pandagpt"

# A floor may import itself and the floors named here.
FLOORS = {
    "errors": set(),
    "logs": {"errors"},
    "metrics": {"errors"},
    "settings": {"errors"},
    "frames": set(),
    "child_process": {"frames"},
    "samples": set(),
    "media": {"errors", "logs", "metrics", "frames", "child_process"},
    "model": {"errors", "logs", "metrics", "media"},
    "engine": {"errors", "logs", "metrics", "frames", "child_process", "media", "model"},
    "api": {"errors", "logs", "metrics", "settings", "samples", "media", "model", "engine"},
    "training": {"errors", "logs", "metrics", "media", "model", "engine"},
}
TOP = {"cli", "__init__", "__main__"}

# A third-party package may be imported only from these places.
FENCES = {
    "fastapi": ("api",),
    "starlette": ("api",),
    "pydantic": ("api", "settings"),
    "httpx": ("api.fetch",),
    "transformers": ("training",),
    "peft": ("training",),
    "openai": (),
    "prometheus_client": ("metrics",),
    "msgspec": ("engine.messages", "engine.grammar_checker", "media.job"),
    "socket": (
        *("frames", "child_process", "engine.process", "engine.__main__", "media.__main__"),
        *("engine.grammar_checker", "api.fetch", "cli"),
    ),
    "asyncio": (
        *("api", "training.evaluation"),
        *("engine.client", "engine.stream", "engine.local", "engine.process"),
        *("engine.heartbeat", "engine.supervisor"),
    ),
    "pickle": ("model.tensor_files",),
    "triton": ("model.cuda.kernels",),
    "multiprocessing": (),
}
# The server's own process is free of torch: whatever these reach.
SERVER = ("api", "cli.serve", "cli.loading", "cli.welcome", "engine.client", "engine.supervisor")
# Deciding is kept apart from doing: these never see a tensor.
TORCHLESS = (
    "api.schemas",
    "engine.request",
    "engine.sequence",
    "engine.scheduler",
    "engine.detokenizer",
    "engine.stop_matcher",
    "model.config",
    "model.prompt",
    "model.tokenizer",
    "media.modality",
)

# Part of what fastapi, pydantic and torch's CUDA wheels are.
COMPANIONS = ("starlette", "anyio", "pydantic_core", "triton")

# May be imported inside a function, because what they import is not everywhere.
OPTIONAL = ("pandagpt.model.cuda.kernel_pass",)

MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts).removesuffix(".__init__"): path
    for path in sorted(PACKAGE.rglob("*.py"))
}


def imports(path: Path, *, nested: bool = True) -> Iterator[tuple[str, int]]:
    """Every absolute module name that the file imports, with its line."""
    tree = ast.parse(path.read_text())
    nodes = ast.walk(tree) if nested else tree.body
    for node in nodes:
        if isinstance(node, ast.Import):
            yield from ((alias.name, node.lineno) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import"
            yield str(node.module), node.lineno
            yield from ((f"{node.module}.{alias.name}", node.lineno) for alias in node.names)


def own_imports(path: Path) -> set[str]:
    names = {name.removeprefix("pandagpt.") for name, _ in imports(path) if "pandagpt." in name}
    return {name for name in names if name in MODULES}


def within(module: str, places: tuple[str, ...]) -> bool:
    return any(module == place or module.startswith(place + ".") for place in places)


@pytest.mark.parametrize("module", MODULES)
def test_imports_go_down(module: str) -> None:
    floor = module.split(".")[0]
    if floor in TOP:
        return
    allowed = FLOORS[floor] | {floor}
    wrong = {name for name in own_imports(MODULES[module]) if name.split(".")[0] not in allowed}
    assert not wrong, f"{module} must not import {sorted(wrong)}"


@pytest.mark.parametrize("module", MODULES)
def test_fences_hold(module: str) -> None:
    for name, line in imports(MODULES[module]):
        places = FENCES.get(name.split(".")[0])
        assert places is None or within(module, places), f"{module}:{line} imports {name}"


@pytest.mark.parametrize("module", [m for m in MODULES if within(m, TORCHLESS)])
def test_policy_is_free_of_torch(module: str) -> None:
    assert "torch" not in {name.split(".")[0] for name, _ in imports(MODULES[module])}


def test_the_server_is_free_of_torch() -> None:
    """The model lives in the engine's process; here its interpreter lock would cost every step."""
    reached: set[str] = set()
    waiting = {module for module in MODULES if within(module, SERVER)}
    while waiting:
        module = waiting.pop()
        reached.add(module)
        waiting |= own_imports(MODULES[module]) - reached
    heavy = {"torch", "safetensors", "transformers", "peft"}
    wrong = {
        module
        for module in reached
        if heavy & {name.split(".")[0] for name, _ in imports(MODULES[module])}
    }
    assert not wrong, f"{sorted(wrong)} import torch, and the server imports them"


def test_no_import_cycles() -> None:
    graph = {module: own_imports(path) - {module} for module, path in MODULES.items()}
    tuple(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("module", MODULES)
def test_imports_stand_at_the_top(module: str) -> None:
    """Only the command line imports late, so that `--help` does not load torch; and `OPTIONAL`."""
    if module.split(".")[0] == "cli":
        return
    path = MODULES[module]
    late = set(imports(path)) - set(imports(path, nested=False))
    guarded = {name for name, _ in imports(path, nested=False)}
    late = {(name, line) for name, line in late if not within(name, OPTIONAL)}
    assert not {name for name, _ in late} - guarded, f"{module} imports inside functions: {late}"


def test_what_is_imported_is_a_dependency() -> None:
    """Of the package itself, not of its tests or by luck of another package."""
    project = tomllib.loads((PACKAGE.parents[1] / "pyproject.toml").read_text())["project"]
    stated = {re.split(r"[\[><=]", line)[0].lower() for line in project["dependencies"]}
    owners = packages_distributions()
    names = {name.split(".")[0] for path in MODULES.values() for name, _ in imports(path)}
    third_party = names - sys.stdlib_module_names - {"pandagpt", *COMPANIONS}
    missing = {
        name for name in third_party if stated.isdisjoint(map(str.lower, owners.get(name, ())))
    }
    assert not missing
