"""llama.cpp's metrics: names, values and the text they are written as."""

from velesio.http.llamacpp.metrics import of, written
from velesio.queue.client import QueueStatus
from velesio.states import Counts


def page(counts: Counts) -> list[str]:
    return written(of(counts, QueueStatus(), (), (0.0, 0.0))).decode().splitlines()


def test_guesses() -> None:
    """By their place in the draft there is a value for each; where none was right yet, there is no such metric."""
    found = page(Counts(drafts=3, drafted=10, accepted=3, accepted_at=(2, 1)))
    assert "llamacpp:spec_decode_num_drafts_total 3" in found
    begin = found.index("# TYPE llamacpp:spec_decode_num_accepted_tokens_per_pos_total counter")
    assert found[begin + 1 : begin + 3] == [
        'llamacpp:spec_decode_num_accepted_tokens_per_pos_total{position="0"} 2',
        'llamacpp:spec_decode_num_accepted_tokens_per_pos_total{position="1"} 1',
    ]
    assert not [line for line in page(Counts()) if "per_pos" in line]


def test_every_metric_is_explained() -> None:
    """Each has a line HELP and a line TYPE before its values."""
    found = page(Counts(accepted_at=(1,)))
    names = {line.split()[0].split("{")[0] for line in found if not line.startswith("#")}
    assert {line.split()[2] for line in found if line.startswith("# HELP")} == names
    assert {line.split()[2] for line in found if line.startswith("# TYPE")} == names
