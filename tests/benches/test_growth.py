"""The growth bench: its record, its figures, one short run that is taken up again."""

import argparse

import msgspec
import pytest

from benches import growth, growth_queue, growth_text, report
from benches.growth_record import Axis, Growth, Measured, Point, missing, read, with_point
from benches.text_scenarios import Stream


def axis(name="things", places=(1, 2, 4)):
    return Axis(name=name, label=name, setting="as it is", places=places, quick=places[:1], open=None)


def point(at, **figures):
    return Point(at=at, date="2026-01-01T00:00:00+00:00", busy=0.0, seconds=1.0, figures=figures)


AROUND = report.Circumstances(
    command="",
    date="2026-01-01T00:00:00+00:00",
    commit="",
    python="",
    system="",
    processor="",
    cores=2,
    memory_mib=1,
    busy_before=0.0,
)


def record():
    return Growth(bench="growth", circumstances=AROUND, versions={}, lines={})


def test_points_stand_in_order_and_once():
    """Whatever the order in which they were measured; a later measurement takes the place of an earlier one."""
    found = record()
    for at, value in ((4, 1.0), (1, 2.0), (4, 3.0)):
        found = with_point(found, axis(), point(at, value=value))
    points = found.lines["things"].points
    assert [(each.at, each.figures["value"]) for each in points] == [(1, 2.0), (4, 3.0)]


def test_what_is_missing_is_what_was_not_measured():
    """A run that was broken off goes on there, and axes do not disturb each other."""
    found = with_point(with_point(record(), axis(), point(2)), axis("others"), point(1))
    assert missing(found.lines["things"], (1, 2, 4)) == [1, 4]
    assert missing(found.lines["others"], (1,)) == []


def test_a_record_is_read_as_it_was_written(tmp_path):
    """Also with what only some points have; no file is no record."""
    file = tmp_path / "growth.json"
    assert read(file) is None
    found = with_point(record(), axis(), msgspec.structs.replace(point(1, a=1.0), broker_mib=2.5))
    report.write(file, found)
    assert read(file) == found


def test_a_table_has_a_dash_for_what_a_point_lacks():
    """Every figure that any point has is a column."""
    found = with_point(with_point(record(), axis(), point(1, a=1.0, b=2.0)), axis(), point(2, a=3.0))
    last = growth.table(found.lines["things"]).splitlines()[-1]
    assert last.split() == ["2", "3.00", "-", "-"]


def test_figures_of_text():
    """Tokens over the time of the waves; pace between the first and the last token; the prompt's pace to the first."""

    def stream(first, last, tokens):
        return Stream(
            status=200, sent=0.0, ended=last, frames=[(first, 1), (last, tokens)], tokens=tokens, prompt=100, cached=0
        )

    found = growth_text.figures([[stream(0.5, 1.5, 11), stream(0.5, 2.0, 11)]], computed=3.0)
    assert found["tokens_per_s"] == pytest.approx(11.0)
    assert found["first_ms"] == pytest.approx(500.0)
    assert found["token_ms"] == pytest.approx(125.0)
    assert found["prompt_tokens_per_s"] == pytest.approx(200.0)
    assert found["cores"] == pytest.approx(1.5)


def test_every_axis_has_a_short_run():
    """Which is a part of the whole one, from small to large."""
    for one in growth.AXES:
        assert set(one.quick) <= set(one.places)
        assert list(one.places) == sorted(one.places)
    assert len({one.name for one in growth.AXES}) == len(growth.AXES)


def test_a_run_is_taken_up_where_it_was_broken_off(tmp_path, monkeypatch, capsys):
    """What the file has is not measured again; what it lacks is."""
    monkeypatch.setattr(growth_queue, "_TURNS", 20)
    file = tmp_path / "growth.json"
    options = argparse.Namespace(quick=True, only=["depth"], json=file, again=False)
    assert growth.run(options) == 0
    whole = read(file)
    points = whole.lines["depth"].points
    assert [each.at for each in points] == [1, 100]
    assert all(0 < each.figures["take_p50_ms"] <= each.figures["take_p99_ms"] for each in points)
    assert 0 < points[0].broker_mib < points[1].broker_mib
    assert "jobs waiting" in capsys.readouterr().out
    cut = msgspec.structs.replace(whole.lines["depth"], points=points[1:])
    report.write(file, msgspec.structs.replace(whole, lines={"depth": cut}))
    assert growth.run(options) == 0
    resumed = read(file).lines["depth"].points
    assert [each.at for each in resumed] == [1, 100]
    assert resumed[1] == points[1]
    assert resumed[0].figures != points[0].figures


def test_measured_is_what_a_point_has():
    """A point is a measurement with its place and time, field by field."""
    assert set(Measured.__struct_fields__) < set(Point.__struct_fields__)
