"""The text bench: what is sent, what is read from answers, what a row says."""

import importlib
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from benches import report, text
from benches.__main__ import main
from benches.text_client import Piece, dechunked, told
from benches.text_figures import GOALS, Goal, Turn, bars, medians, quantile, rows
from benches.text_llama_server import switches
from benches.text_scenarios import SCENARIOS, Stream, body, openai_body, schema, throughput, words
from benches.text_servers import CONTESTANTS, SPINS, Machine, velesio_plain


def stream(first: float, ended: float, tokens: int = 10, **fields: Any) -> Stream:
    frames = [(first, 1), (ended, tokens)]
    return Stream(status=200, sent=0.0, ended=ended, frames=frames, tokens=tokens, prompt=5, cached=0, **fields)


def turn(scenario: str, contestant: str, number: int = 1, **figures: float) -> Turn:
    return Turn(round=number, scenario=scenario, contestant=contestant, figures=figures)


def test_prompts_are_the_same_for_the_same_seed_and_of_their_length() -> None:
    """All servers get the same words; each client its own."""
    assert words("a", 48) == words("a", 48) != words("b", 48)
    assert len(words("a", 48).split()) == 48
    for scenario in SCENARIOS:
        assert scenario.requests("seed", 0) == scenario.requests("seed", 0)
    (shared,) = (scenario for scenario in SCENARIOS if scenario.name == "shared")
    prompts = [request["body"]["prompt"] for request in shared.requests("seed", 0)]
    assert len(set(prompts)) == 8
    assert len({prompt[:4000] for prompt in prompts}) == 1


def test_both_ways_to_ask_ask_for_the_same() -> None:
    """llama.cpp's own words and OpenAI's."""
    native = body(" x", 7)
    assert openai_body(native, "m").items() >= {"prompt": " x", "max_tokens": 7, "temperature": 0}.items()
    assert len(schema()["required"]) == len(schema()["properties"]) == 24


def test_tokens_a_second_are_those_of_all_waves() -> None:
    """A wave takes as long as its longest stream."""
    found = throughput([[stream(0.1, 1.0), stream(0.3, 2.0)], [stream(0.2, 2.0)]])
    assert found["tokens_per_s"] == pytest.approx(30 / 4)
    assert found["first_ms"] == pytest.approx(200)


def test_only_gaps_after_the_long_prompt_came_count() -> None:
    """The pause that it causes, not the one before."""
    one = Stream(
        status=200,
        sent=0.0,
        ended=9.0,
        frames=[(0.0, 1), (4.0, 2), (5.0, 3), (7.0, 4)],
        tokens=4,
        prompt=1,
        cached=0,
    )
    assert one.worst_gap(4.5) == 2.0
    assert one.worst_gap(0.0) == 4.0


def answer(*parts: bytes) -> list[Piece]:
    return [Piece(float(number), part) for number, part in enumerate(parts, 1)]


HEAD = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


def chunk(text: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(text), text)


def event(content: str, tokens: int, *, stop: bool = False) -> bytes:
    said = {"content": content, "stop": stop, "tokens_predicted": tokens, "tokens_evaluated": 3}
    return b"data: %b\n\n" % json.dumps(said).encode()


def test_events_are_timed_by_the_read_that_completed_them() -> None:
    """However chunks and reads cut them."""
    first, last = event("a", 1), event("", 2, stop=True)
    found = told(answer(HEAD + chunk(first)[:-5], chunk(first)[-5:], chunk(last) + b"0\r\n\r\n"), 0.5, 0.5)
    assert found["frames"] == [[1.5, 1]]
    assert (found["tokens"], found["prompt"], "error" in found) == (2, 3, False)


@pytest.mark.parametrize(
    ("parts", "error"),
    [
        ([HEAD + chunk(event("a", 1)) + b"0\r\n\r\n"], "the stream has no end"),
        ([b"HTTP/1.1 503 Busy\r\n\r\nbusy"], "busy"),
        ([], "no answer"),
        ([HEAD + chunk(b'data: {"error": {"code": 500}}\n\n') + b"0\r\n\r\n"], "{'code': 500}"),
    ],
)
def test_what_is_no_answer_is_an_error(parts: list[bytes], error: str) -> None:
    """Never a figure."""
    assert told(answer(*parts), 0.0, 0.0)["error"] == error


def test_chunks_are_joined() -> None:
    """With the places where they ended."""
    assert dechunked(chunk(b"abc") + chunk(b"de") + b"0\r\n\r\n") == (b"abcde", [(3, 6), (5, 13)])


GOAL = Goal(name="speed", scenario="s", figure="tokens_per_s", must=1.0)


def test_a_row_takes_the_medians_and_the_best_rival() -> None:
    """The rival that is best over the rounds; the median of the rounds' ratios, and their spread."""
    turns = [
        *(turn("s", "velesio", number, tokens_per_s=value) for number, value in enumerate((90.0, 110.0, 120.0))),
        *(
            turn("s", "llama-server, a", number, tokens_per_s=value)
            for number, value in enumerate((100.0, 50.0, 100.0))
        ),
        *(turn("s", "llama-server, b", number, tokens_per_s=80.0) for number in range(3)),
        turn("s", "velesio, guessing ahead", 0, tokens_per_s=500.0),
    ]
    (row,) = rows(turns, [GOAL])
    assert (row.own, row.rival, row.rival_name) == (110.0, 100.0, "llama-server, a")
    assert (row.value, row.passed) == (pytest.approx(1.2), True)
    assert (row.lowest, row.highest) == (pytest.approx(0.9), pytest.approx(2.2))
    assert medians(turns, "s", "velesio") == {"tokens_per_s": 110.0}


def test_a_row_without_a_rival_stands_by_itself() -> None:
    """Where at most so much is allowed; and what was not measured is no pass."""
    goal = Goal(
        name="µs", scenario="s", figure="us", must=200, rival="", least=False, more_is_better=False, ratio=False
    )
    (row,) = rows([turn("s", "velesio", us=250.0)], [goal])
    assert (row.value, row.passed) == (250.0, False)
    assert bars([row])[0].value == 1.25
    assert rows([], [goal])[0].passed is None
    assert rows([turn("s", "velesio", tokens_per_s=1.0)], [GOAL])[0].passed is None


def test_quantiles_are_bounds_of_buckets() -> None:
    """Of what came between two readings."""
    before = {0.01: 100.0, 0.02: 100.0, float("inf"): 100.0}
    after = {0.01: 198.0, 0.02: 199.0, float("inf"): 200.0}
    assert [quantile(before, after, part) for part in (0.5, 0.99, 1.0)] == [0.01, 0.02, float("inf")]
    assert quantile({}, {}, 0.99) == 0.0


def test_every_goal_has_its_scenario_and_name() -> None:
    """Names are keys of `ratios`."""
    assert {goal.scenario for goal in GOALS} <= {scenario.name for scenario in SCENARIOS}
    assert len({goal.name for goal in GOALS}) == len(GOALS)
    assert len({contestant.name for contestant in CONTESTANTS}) == len(CONTESTANTS)


def test_runs_are_added_up() -> None:
    """Rounds are counted on; rows and ratios are those of all turns."""
    machine = Machine(model="m", threads=2)
    name = GOALS[0].scenario
    runs = [
        text.Report(
            bench="text",
            circumstances=report.circumstances(),
            plan=text.QUICK,
            machine=machine,
            llama_cpp_python="1",
            order=[["x"]],
            rows=[],
            ratios={},
            passed={},
            turns=[turn(name, "velesio", tokens_per_s=own), turn(name, "llama-server, a", tokens_per_s=100.0)],
        )
        for own in (80.0, 120.0, 130.0)
    ]
    found = text.joined(runs)
    assert [each.round for each in found.turns] == [1, 1, 2, 2, 3, 3]
    assert found.ratios[GOALS[0].name] == 1.2
    assert found.plan.rounds == 3
    assert msgspec.json.decode(msgspec.json.encode(found), type=text.Report) == found


def test_the_switches_of_the_build_are_taken_over() -> None:
    """Those that CMake derives by itself are not."""
    recorded = 'set(GGML_NATIVE "ON")\nset(GGML_OPENMP_ENABLED "ON")\nset(GGML_CUDA "OFF")\nset(OTHER "ON")\n'
    assert switches(recorded) == {"GGML_NATIVE": "ON", "GGML_CUDA": "OFF"}


def test_the_bench_knows_velesios_own_way_with_openmp() -> None:
    """`short spins` means the same for both."""
    module = importlib.import_module("velesio.backends.llama.backend")  # the package has a function of that name
    assert module._SPINS == SPINS


def test_velesio_is_measured_with_the_machines_settings_and_without_guesses() -> None:
    """Each contestant is told the same."""
    said = " ".join(velesio_plain(Machine(model="m", threads=2, slots=16), 1234))
    for setting in ("server.port=1234", "backends.llama.slots=16", "backends.llama.speculation=off"):
        assert setting in said


def test_a_wrong_folder_is_noticed_before_anything_is_measured(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not after an hour."""
    with pytest.raises(SystemExit):
        main(["text", "--json", str(tmp_path / "none" / "x.json")])
    assert "there is no folder" in capsys.readouterr().err
