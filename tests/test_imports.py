"""The layers of docs/architecture.md, read from the source."""

import ast
import graphlib
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent / "velesio"

LEAVES = {"jobs", "errors", "config", "metrics", "states", "tracing", "nearest"}
MAY_IMPORT = {
    "__main__": {"cli"},
    "cli": LEAVES
    | {
        "cli",
        "queue",
        "service",
        "logs",
        "pulls",
        "catalogue",
        "http.background.webhooks",
        "backends.base",
        "backends.plugins",
    },
    "service": LEAVES
    | {"service", "catalogue", "http", "queue", "worker", "notify", "gpu_metrics", "garbage", "inventory"},
    "notify": set(),
    "garbage": set(),
    "nearest": set(),
    "gpu_metrics": set(),
    "catalogue": {"pulls", "backends.plugins", "backends.base", "config", "errors"},
    "logs": {"config"},
    "pulls": {"config", "downloads", "errors", "notify"},
    "downloads": {"errors"},
    "tracing": {"errors", "config"},
    "http": LEAVES | {"pictures", "http", "queue", "backends.base", "dialects", "downloads", "pulls", "logs"},
    "worker": LEAVES | {"queue", "residency", "engines", "backends.base"},
    "inventory": LEAVES | {"catalogue", "pulls", "queue", "backends.base"},
    "queue": LEAVES | {"queue", "backends.base"},
    "residency": LEAVES | {"engines", "resident", "backends.base"},
    "resident": LEAVES | {"engines", "backends.base"},
    "engines": {"jobs", "errors", "heap", "metrics", "states", "backends.base"},
    "backends.plugins": {"backends.base", "errors"},
    "backends.base": {"jobs", "errors"},
    "backends.echo": {"backends.echo", "backends.base", "jobs", "errors"},
    "backends.diffusion": {"pictures", "backends.diffusion", "backends.base", "jobs", "errors", "nearest"},
    "backends.llama": {"pictures", "backends.llama", "backends.base", "dialects", "jobs", "errors", "metrics"},
    "dialects": {"dialects", "jobs"},
    "config": {"config", "errors"},
    "states": set(),
    "heap": set(),
    "pictures": {"pictures"},
    "jobs": {"jobs"},
    "errors": set(),
    "metrics": set(),
}
ANYWHERE_OUTSIDE_BACKENDS = {"torch", "llama_cpp", "diffusers", "transformers", "numpy"}
NEVER_IN_BACKENDS = {"redis", "aiohttp", "aiohttp_jinja2", "prometheus_client", "prometheus_async"}


HTTP = ROOT / "http"
FAMILIES: dict[str, set[str]] = {
    "access": set(),
    "admin": {"access", "monitoring"},
    "anthropic": {"text"},
    "background": {"access"},
    "earlier": {"ollama", "sdapi"},  # whose requests it reads at other addresses
    "llamacpp": {"access", "openai", "text"},  # its `/apply-template` reads OpenAI's chats
    "monitoring": set(),
    "ollama": {"access", "text"},
    "openai": {"text"},
    "pages": {"access"},
    "sdapi": {"access", "background"},  # the agent scheduler's tasks
    "text": set(),
}
"""The packages of http, and which others each may know."""
SHARED = {"access", "monitoring", "text"}
SEVERAL = {"app", "embeddings", "forms", "middleware", "models", "reference_pages", "status"}


def families() -> list[Path]:
    return [path for path in HTTP.rglob("*.py") if path.parent != HTTP]


def modules() -> list[Path]:
    return [path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py"]


def room_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[0] == "backends":
        return ".".join(parts[:2]) if len(parts) > 1 and parts[1] != "__init__" else "backends"
    return parts[0]


def imports_of(path: Path) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            found += [f"{node.module}.{alias.name}" for alias in node.names]
    return found


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_imports_go_one_way(path: Path) -> None:
    """A module imports only the rooms that its own room may know."""
    room = room_of(path)
    if room == "backends":
        return
    allowed = MAY_IMPORT[room]
    for name in imports_of(path):
        if not name.startswith("velesio."):
            continue
        target = name.removeprefix("velesio.")
        if target == "__version__":
            continue
        assert any(target == room_ or target.startswith(f"{room_}.") for room_ in allowed), f"{room} imports {name}"


@pytest.mark.parametrize("path", families(), ids=lambda path: str(path.relative_to(HTTP)))
def test_a_family_knows_no_other(path: Path) -> None:
    """A package of http imports what serves all, and of the other packages only those that its own may know."""
    family = path.relative_to(HTTP).parts[0]
    for name in imports_of(path):
        other = name.removeprefix("velesio.http.").partition(".")[0]
        if name.startswith("velesio.http.") and (HTTP / other).is_dir():
            assert other in FAMILIES[family] | {family}, f"{family} imports {name}"


def test_what_serves_all_families_knows_none() -> None:
    """But for what puts them together, and the routes at which several families are answered, each in its own way."""
    found = {
        path.stem
        for path in HTTP.glob("*.py")
        for name in imports_of(path)
        if name.startswith("velesio.http.") and name.split(".")[2] in FAMILIES.keys() - SHARED
    }
    assert found - SEVERAL == set()


def test_the_architecture_names_every_room() -> None:
    """docs/architecture.md says what each module and package of the root is for."""
    text = (ROOT.parent / "docs" / "architecture.md").read_text(encoding="utf-8")
    cells = re.findall(r"^\| (`[^|]+) \|", text.partition("## Rooms")[2], re.MULTILINE)
    named = {name.rstrip("/") for cell in cells for name in re.findall(r"`([\w/]+)`", cell)}
    rooms = {path.stem for path in ROOT.iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()}
    assert rooms - named == {"__init__"}


def at_import(path: Path) -> set[str]:
    """The modules that one brings in when it is imported, not those of its functions and of its types alone."""
    found: set[str] = set()
    nodes: list[ast.stmt] = list(ast.parse(path.read_text(encoding="utf-8")).body)
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Try) or (isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.unparse(node.test)):
            nodes += [*node.body, *node.orelse]
    return found


def test_modules_form_no_circle() -> None:
    """Each can be understood after those that it imports: they have an order."""
    names = {".".join(("velesio", *path.relative_to(ROOT).with_suffix("").parts)): path for path in modules()}
    names = {name.removesuffix(".__init__"): path for name, path in names.items()}
    graph = {  # a package is there once its modules are, so these do not wait for it
        name: {other for other in at_import(path) & set(names) if not f"{name}.".startswith(f"{other}.")}
        for name, path in names.items()
    }
    assert list(graphlib.TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("path", modules(), ids=lambda path: str(path.relative_to(ROOT)))
def test_heavy_and_foreign_libraries_stay_in_their_rooms(path: Path) -> None:
    """Inference libraries are imported by backends only; brokers and HTTP never by backends."""
    forbidden = NEVER_IN_BACKENDS if room_of(path).startswith("backends.") else ANYWHERE_OUTSIDE_BACKENDS
    for name in imports_of(path):
        assert name.partition(".")[0] not in forbidden, name


def test_llama_cpp_stays_in_its_binding() -> None:
    """Of the text backend, only the binding knows the C library."""
    users = {path for path in (ROOT / "backends" / "llama").rglob("*.py") if "llama_cpp" in str(imports_of(path))}
    assert {path.parent.name for path in users} == {"binding"}


def test_a_gateway_imports_no_inference_library() -> None:
    """Importing everything that a gateway runs brings in neither torch nor llama_cpp, and takes less than twice the
    processor time of the libraries that it is built on: how fast a machine is, and how busy, then plays no part."""
    script = (
        "import sys, time; began = time.process_time(); "
        "import aiohttp.web, aiohttp_jinja2, prometheus_async.aio, prometheus_client, redis.asyncio, structlog; "
        "libraries = time.process_time() - began; import velesio.http.app; "
        "took = time.process_time() - began; import velesio.service; "
        "print(took / libraries, *sorted({'torch', 'llama_cpp', 'diffusers', 'numpy', 'PIL'} & set(sys.modules)))"
    )
    runs = []
    for _ in range(3):  # the best of three: the first may have to read files from a cold disk
        answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
        ratio, *heavy = answer.stdout.split()
        assert heavy == []
        runs.append(float(ratio))
    assert min(runs) < 2.0, runs
