"""Keys, tenants, usage and the audit log from the command line, as programs beside a server that asks for keys."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.end_to_end.process import Server, eventually, own_folder, running
from tests.end_to_end.test_operators import velesio

ECHO = 'models=[{name="echo", backend="echo"}]'
ASK = {"prompt": "one two", "max_tokens": 4}

Run = Callable[..., str]


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """One that has no keys of its configuration and asks for them all the same."""
    with own_folder() as path, running(Server("all", path, ECHO, "demo=false", "access.required=true")) as server:
        yield server


@pytest.fixture
def run(server: Server) -> Run:
    """What a command prints; it must succeed, or end with `status` and say why on standard error."""

    def run(*words: str, status: int = 0) -> str:
        answer = velesio(server.folder, *words)
        assert answer.returncode == status, answer.stderr
        return answer.stderr if status else answer.stdout

    return run


def asked(server: Server, key: str) -> int:
    return server.post("/v1/completions", ASK, {"Authorization": f"Bearer {key}"})[0]


def test_a_key_is_made_used_rotated_changed_and_revoked(server: Server, run: Run) -> None:
    """Each command is in force at the running server within a second, and no list shows a secret."""
    token, told = run("keys", "create", "game", "--tenant", "studio", "--limit", "requests=2").splitlines()
    assert "cannot be shown again" in told
    assert eventually(lambda: asked(server, token) == 200, within=5)
    described = json.loads(run("keys", "show", "game", "--json"))
    assert (described["tenant"], described["limits"], described["state"]) == ("studio", {"requests": 2}, "live")
    assert asked(server, token) == 200
    assert asked(server, token) == 429
    run("keys", "change", "game", "--limit", "requests=0", "--priority-max", "interactive")
    eventually(lambda: asked(server, token) == 200, within=5)
    turned = json.loads(run("keys", "rotate", "game", "--grace", "1h", "--json"))
    eventually(lambda: asked(server, turned["key"]) == 200, within=5)
    assert asked(server, token) == 200
    listed = run("keys", "list")
    assert "game" in listed
    assert token not in listed
    assert turned["key"] not in listed
    assert run("keys", "revoke", "game") == f"{described['id']} (game): revoked\n"
    eventually(lambda: asked(server, turned["key"]) == 401, within=5)
    assert json.loads(run("keys", "list", "--json"))[-1]["state"] == "revoked"


def test_the_first_key_makes_the_others(server: Server, run: Run) -> None:
    """It lies in the data folder, for its owner's eyes alone, and may do everything."""
    file = Path(server.folder, "data", "first-key")
    assert file.stat().st_mode & 0o077 == 0
    headers = {"Authorization": f"Bearer {file.read_text().strip()}"}
    status, made = server.post("/admin/keys", {"name": "second"}, headers)
    assert status == 201
    eventually(lambda: asked(server, made["key"]) == 200, within=5)
    assert json.loads(run("keys", "show", "second", "--json"))["scopes"] == ["text", "images"]


def test_tenants_usage_and_the_audit_log(server: Server, run: Run) -> None:
    """What was set is told again, what was used is counted, what was changed is noted with who did it."""
    run("tenants", "set", "house", "--weight", "2", "--waiting", "5", "--limit", "month_tokens=1000")
    [house] = json.loads(run("tenants", "list", "--json"))
    assert (house["name"], house["weight"], house["limits"]) == ("house", 2.0, {"month_tokens": 1000})
    key = json.loads(run("keys", "create", "guest", "--tenant", "house", "--expires", "1d", "--json"))
    eventually(lambda: asked(server, key["key"]) == 200, within=5)

    def used() -> list[dict[str, Any]]:
        rows: list[dict[str, Any]] = json.loads(run("usage", "--tenant", "house", "--json"))
        return rows

    [row] = eventually(used)
    assert (row["key"], row["model"], row["requests"] >= 1) == (key["id"], "echo", True)
    assert run("usage", "--tenant", "house", "--csv").startswith("start,key,tenant,model,requests")
    run("tenants", "remove", "house")
    actions = [(entry["action"], entry["target"]) for entry in json.loads(run("audit", "--limit", "5", "--json"))]
    assert actions[0] == ("tenant.remove", "house")
    assert ("key.create", key["id"]) in actions
    assert key["key"] not in run("audit", "--limit", "50")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("keys", "show", "nobody"), "there is no key 'nobody'"),
        (("keys", "create", "a", "--scopes", "all"), "known are text, images, admin"),
        (("keys", "create", "a", "--limit", "speed=1"), "names are requests"),
        (("keys", "create", "a", "--expires", "soon"), "is no time"),
        (("tenants", "remove", "nobody"), "nobody has described"),
        (("usage", "--from", "yesterday"), "expected a day like"),
    ],
)
def test_mistakes_are_told_in_a_line(run: Run, words: tuple[str, ...], said: str) -> None:
    """With what would be right, and without a traceback."""
    told = run(*words, status=1)
    assert said in told
    assert "Traceback" not in told
