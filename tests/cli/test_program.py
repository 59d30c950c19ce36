"""The command line: each verb says what it found and exits with a status that scripts can use."""

import subprocess
import sys
from pathlib import Path

import pytest

from velesio import cli


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_check_config_names_the_models(capsys: pytest.CaptureFixture[str]) -> None:
    """A configuration that can be used: status 0 and what would be served."""
    assert cli.main(["check-config"]) == 0
    assert "smollm2-135m-instruct" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (["server.prot=1"], "did you mean port"),
        (["server.host=0.0.0.0"], "[[keys]]"),
        (['models=[{name="a", backend="nope"}]'], "no backend is called 'nope'"),
        (['models=[{name="a", path="missing.gguf"}]'], "missing.gguf"),
        (['models=[{name="a", backend="echo", colour="red"}]'], "colour"),
        (["backends.llama.contxt=1"], "contxt"),
        (["backends.nope.context=1"], "backends.nope"),
    ],
)
def test_check_config_names_the_mistake(settings: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2, the place, and the remedy, on standard error."""
    assert cli.main([*(part for one in settings for part in ("--set", one)), "check-config"]) == 2
    assert said in capsys.readouterr().err


def test_models_list_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    """One line for each model, under a heading; without a server nobody knows their states."""
    settings = 'models=[{name="a", backend="echo", slots=3}, {name="b", backend="echo", aliases=["bee"]}]'
    assert cli.main(["--set", settings, "models", "list"]) == 0
    heading, first, second = capsys.readouterr().out.splitlines()[:3]
    assert heading.split()[:2] == ["NAME", "KIND"]
    assert first.split()[:3] == ["a", "text", "echo"]
    assert first.split()[-2:] == ["-", "-"]
    assert second.split()[-1] == "bee"


def test_doctor_reports_and_never_raises(capsys: pytest.CaptureFixture[str]) -> None:
    """What is installed, with a mark for what is missing; a broken configuration is a line, not a crash."""
    assert cli.main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert "ok llama-cpp-python: 0.3" in said
    assert "ok model smollm2-135m-instruct" in said
    assert cli.main(["doctor", "--set", 'models=[{name="a", path="missing.gguf"}]']) == 1
    assert "!! models: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("remote", "role"), [("", "all"), ("false", "all"), ("true", "gateway"), (" True ", "gateway"), ("1", "gateway")]
)
def test_remote_says_where_workers_are(remote: str, role: str) -> None:
    """As it did to the earlier Velesio server: false, everything is on this machine; true, workers are elsewhere."""
    assert cli.usual_role({"REMOTE": remote}) == role
    assert cli.usual_role({}) == "all"


def test_a_worker_needs_a_broker_that_others_reach() -> None:
    """`--role worker` without redis.url is refused with the option to set."""
    answer = subprocess.run(
        [sys.executable, "-m", "velesio", "--role", "worker"], capture_output=True, text=True, timeout=60, check=False
    )
    assert answer.returncode == 2
    assert "--set redis.url=redis://" in answer.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ["jobs", "list"],
        ["jobs", "show", "x"],
        ["jobs", "cancel", "x"],
        ["workers", "list"],
        ["workers", "drain", "--all"],
    ],
    ids=" ".join,
)
def test_operators_need_a_server(arguments: list[str]) -> None:
    """Without redis.url and without a server here: status 2, the directory, and the options to set."""
    answer = subprocess.run(
        [sys.executable, "-m", "velesio", *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert (answer.returncode, answer.stdout) == (2, "")
    assert f"no server is running on {Path.cwd() / 'data'}" in answer.stderr
    assert "--set redis.url=" in answer.stderr


def test_a_broker_that_does_not_answer_is_status_3() -> None:
    """An address where nobody listens is said, without credentials."""
    answer = subprocess.run(
        [sys.executable, "-m", "velesio", "jobs", "list", "--set", "redis.url=redis://user:secret@127.0.0.1:1"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (answer.returncode, answer.stdout) == (3, "")
    assert "redis://127.0.0.1:1" in answer.stderr
    assert "secret" not in answer.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["jobs", "list", "--state", "lost"], "choose from 'scheduled', 'queued', 'running', 'done', 'failed'"),
        (["jobs", "show"], "required: id"),
        (["jobs", "cancel"], "required: id"),
        (["workers", "drain"], "one of the arguments"),
        (["workers", "drain", "--all", "one"], "not allowed with argument --all"),
        (["jobs", "list", "--limit", "0"], "at least 1"),
    ],
)
def test_wrong_arguments_are_explained(arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]) -> None:
    """Status 2 and what would be right."""
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert said in capsys.readouterr().err


def test_options_may_stand_before_or_after_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    """`velesio --set x check-config` and `velesio check-config --set x` are the same."""
    for arguments in (["--set", "server.prot=1", "check-config"], ["check-config", "--set", "server.prot=1"]):
        assert cli.main(arguments) == 2
        assert "did you mean port" in capsys.readouterr().err


def test_reading_the_arguments_needs_no_library_of_servers() -> None:
    """What a command needs is imported when it runs, so that words and mistakes are answered at once."""
    script = (
        "import sys; from velesio import cli; cli.parser(); "
        "print(sorted({'redis', 'aiohttp', 'structlog', 'numpy'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert answer.stdout.strip() == "[]"
