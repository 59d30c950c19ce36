"""The voice of the command line."""

import getpass
import os

import pytest

from velesio.cli.voice import say_json, say_table, speaker


def test_who_speaks_where_users_have_no_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a container whose user is only a number, the audit log has the number."""

    def unknown() -> str:
        raise OSError("no such user")

    monkeypatch.setattr(getpass, "getuser", unknown)
    assert speaker() == f"{os.getuid()} (command line)"
    monkeypatch.setattr(getpass, "getuser", lambda: "ada")
    assert speaker() == "ada (command line)"


def test_tables_and_documents_are_lines() -> None:
    """A table is a line for each row; a document is told at once."""
    said: list[str] = []
    say_table(said.append, [("A", "B"), ("long", "b")])
    say_json(said.append, {"a": [1]})
    assert said == ["A     B", "long  b", '{\n  "a": [\n    1\n  ]\n}']
