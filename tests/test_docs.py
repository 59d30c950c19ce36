"""What the docs say is there: pages that link to each other, options, routes, commands, metrics."""

import argparse
import re
import shlex
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from velesio import cli, config
from velesio.http import app

ROOT = Path(__file__).parent.parent
PAGES = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "examples/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
MANUAL = [page for page in PAGES if page.parent.name != "api"]
"""Those that are written by hand."""
LINK = re.compile(r"(?<!`)\[[^\]\n]*(?:\n[^\]\n]*)?\]\(([^)\s]+)\)")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
QUOTED = re.compile(r"`([^`\n]+)`")


def named(page: Path) -> str:
    return str(page.relative_to(ROOT))


def prose(page: Path) -> str:
    return BLOCK.sub("", page.read_text(encoding="utf-8"))


def anchors(page: Path) -> set[str]:
    """The headings of a page, as GitHub makes anchors of them."""
    headings = re.findall(r"^#+ (.+)$", prose(page), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page: Path) -> None:
    """A link to a file finds it, and the heading in it."""
    for link in LINK.findall(prose(page)):
        target, _, anchor = link.partition("#")
        if "://" in target:
            continue
        file = (page.parent / target).resolve() if target else page
        assert file.exists(), f"{link}: no such file"
        assert not anchor or anchor in anchors(file), f"{link}: no such heading"


def test_the_index_leads_to_every_page() -> None:
    """docs/README.md has a place for each page, those of docs/api and docs/models too; README.md leads there."""
    docs = ROOT / "docs"
    linked = {(docs / link.partition("#")[0]).resolve() for link in LINK.findall(prose(docs / "README.md"))}
    assert sorted(map(named, docs.rglob("*.md"))) == sorted(
        named(page) for page in {*linked, docs / "README.md"} if page.is_relative_to(docs)
    )
    assert "docs/README.md" in LINK.findall(prose(ROOT / "README.md"))


def options() -> dict[str, set[str]]:
    """The keys of each section of config.toml, those that stand in comments too."""
    text = (ROOT / "config.toml").read_text(encoding="utf-8")
    raw = tomllib.loads(text)
    keys = {name: set(value) for name, value in raw.items() if isinstance(value, dict)}
    keys |= {f"{name}.{inner}": set(value) for name in ("backends", "limits") for inner, value in raw[name].items()}
    return keys


@pytest.mark.parametrize("page", MANUAL, ids=named)
def test_options_exist(page: Path, tmp_path: Path) -> None:
    """`section.key` in the text, `--set section.key=…` in a command, and each example of config.toml."""
    text, known = page.read_text(encoding="utf-8"), options()
    told = [quoted for quoted in QUOTED.findall(prose(page)) if re.fullmatch(r"[a-z_]+(\.[a-z_]+)+( = .*)?", quoted)]
    for option in [*(told_option.partition(" = ")[0] for told_option in told), *re.findall(r"--set ([\w.]+)=", text)]:
        section, _, key = option.rpartition(".")
        if section in known and not (ROOT / "velesio" / section / f"{key}.py").exists():
            assert key in known[section] or option in known, f"config.toml has no {option}"
    for kind, block in BLOCK.findall(text):
        if kind == "toml" and "[project" not in block:
            (tmp_path / "config.toml").write_text(block, encoding="utf-8")
            known_options = known["backends.llama"] | known["backends.diffusion"]
            for model in config.load(tmp_path / "config.toml", {}, ()).models:
                assert model.backend not in {"llama", "diffusion"} or set(model.options) <= known_options, block


def routes() -> set[tuple[str, str]]:
    """Method and path of each route, names of places as `*`."""
    found = {(route.method, route.path) for route in app.ROUTES if hasattr(route, "path")}
    return {(method, re.sub(r"\{[^}]*\}", "*", path)) for method, path in found}


@pytest.mark.parametrize("page", MANUAL, ids=named)
def test_routes_exist(page: Path) -> None:
    """`METHOD /path` in the text; capital letters, digits and braces stand for anything."""
    known = routes()
    for quoted in QUOTED.findall(prose(page)):
        if asked := re.match(r"(GET|POST|PUT|PATCH|DELETE) (/[^\s?]*)", quoted):
            path = re.sub(r"\{[^}]*\}|(?<=/)([A-Z]+|\d+)(?=/|$)", "*", asked[2])
            assert any(method in {asked[1], "*"} and path == each for method, each in known), f"no route {quoted}"


def commands(page: Path) -> Iterator[list[str]]:
    """What stands behind `velesio` in the shell's blocks and in the text."""
    blocks = [block for kind, block in BLOCK.findall(page.read_text(encoding="utf-8")) if kind == "sh"]
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    for line in [*lines, *QUOTED.findall(prose(page))]:
        if found := re.match(r"(?:\S*/velesio|velesio|python -m velesio) (?=[a-z])(.*)", line):
            words = shlex.split(re.sub(r"\[[^\]]*\]|…", "", found[1]), comments=True)
            yield [word for word in words if word != "|"]


def verbs(parser: argparse.ArgumentParser) -> dict[str, argparse.ArgumentParser]:
    """The commands below a command."""
    return next((dict(each.choices) for each in parser._actions if isinstance(each, argparse._SubParsersAction)), {})


@pytest.mark.parametrize("page", MANUAL, ids=named)
def test_commands_exist(page: Path) -> None:
    """Their words and their options."""
    for words in commands(page):
        parser, left = cli.parser(), list(words)
        while (below := verbs(parser)) and left:
            choices = left.pop(0).split("|")
            assert set(choices) <= set(below), f"velesio {' '.join(words)}"
            parser = below[choices[0]]
        known = set(parser._option_string_actions)
        assert {word for word in left if word.startswith("--")} <= known, f"velesio {' '.join(words)}"


def test_metrics_exist() -> None:
    """Those that the docs name are made somewhere."""
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "velesio").rglob("*.py"))
    made = {re.sub(r"_total$", "", name) for name in re.findall(r'"(velesio_[a-z0-9_]+)"', source)}
    for page in (*ROOT.glob("docs/*.md"), *ROOT.glob("monitoring/**/*.yml"), *ROOT.glob("monitoring/**/*.json")):
        for name in re.findall(r"\bvelesio_[a-z0-9_]+(?![a-z0-9_]|\*|:)", page.read_text(encoding="utf-8")):
            bare = re.sub(r"_(total|bucket|count|sum|created)$", "", name)
            assert name.endswith("_") or {name, bare} & made, f"{named(page)}: no metric {name}"
