"""Styles: what A1111's `styles.csv` says, and what it does to prompts."""

from pathlib import Path

import pytest

from velesio.http.sdapi.styles import Style, Styles, applied, named, parse

FILE = 'name,prompt,negative_prompt\nink,"ink, {prompt}, paper",colour\nempty,,\nsoft,soft light,\n'


def test_a_file_is_read() -> None:
    """Quotes, empty cells and columns that are not there."""
    assert parse(FILE) == {
        "ink": Style("ink", "ink, {prompt}, paper", "colour"),
        "empty": Style("empty"),
        "soft": Style("soft", "soft light"),
    }
    assert parse("name,text\nold,in the old form\n") == {"old": Style("old", "in the old form")}
    assert parse("") == {}


@pytest.mark.parametrize(
    ("prompt", "names", "made"),
    [
        ("a fox", ["ink"], ("ink, a fox, paper", "dogs, colour")),
        ("a fox", ["soft", "ink"], ("ink, a fox, soft light, paper", "dogs, colour")),
        ("", ["soft"], ("soft light", "dogs")),
        ("a fox", ["", "nobody", "empty"], ("a fox", "dogs")),
    ],
)
def test_prompts_in_styles(prompt: str, names: list[str], made: tuple[str, str]) -> None:
    """One after the other; unknown names and empty styles change nothing."""
    assert applied(prompt, "dogs", named(names, parse(FILE))) == made


def test_the_file_may_change(tmp_path: Path) -> None:
    """It is read again; without it, or when it is damaged, there are no styles."""
    path = tmp_path / "styles.csv"
    styles = Styles(path)
    assert styles.read() == {}
    path.write_text("\ufeff" + FILE, encoding="utf-8")
    assert list(styles.read()) == ["ink", "empty", "soft"]
    path.write_text("name,prompt\nother,x\n")
    assert list(styles.read()) == ["other"]
    path.write_text('name,prompt\n"broken')
    assert styles.read() == {}
    path.unlink()
    assert styles.read() == {}
    assert Styles(None).read() == {}
