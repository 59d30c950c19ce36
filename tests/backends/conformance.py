"""Laws that every backend keeps: a test class for any engine, one for engines that make text.

A backend's own tests inherit from `EngineLaws` or `TextLaws` and give the fixture `subject`.
"""

import gc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import psutil
import pytest

from velesio.backends.base import Backend, Catalogue, Engine, ModelCard, Work
from velesio.jobs import (
    Cancelled,
    Completed,
    Completion,
    Delta,
    Event,
    Failed,
    Job,
    Params,
    Sampling,
    Started,
    TextResult,
    is_final,
)

GREEDY = Sampling(temperature=0)
MANY_STEPS = 20_000


class Subject(NamedTuple):
    """A backend with one model to examine, and what its prompts are like."""

    backend: Backend
    card: ModelCard
    params: Callable[[int], Params]
    """Some small job's params; different for each number."""
    endless: Params
    """A job that does not end within a hundred steps."""
    too_much: Params | None = None
    """A job that the model must refuse."""
    refusal: str = "context_length_exceeded"


class Desk:
    """Drives an engine as its runner does, and watches the laws on events."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.engine: Engine = subject.backend.load(subject.card, lambda part: None)
        self.events: dict[str, list[Event]] = {}
        self.open: list[Work] = []

    def admit(self, params: Params, **fields: Any) -> Work | None:
        """Offers a job; None if the engine has no room."""
        job = Job.new(self.subject.card.name, params, **fields)
        self.events[job.id] = []
        work = Work(job, self._receive)
        self.open.append(work)
        if self.engine.admit(work):
            return work
        assert not self.events.pop(job.id), "an engine that has no room emits nothing"
        self.open.remove(work)
        return None

    def start(self, params: Params, **fields: Any) -> Work:
        work = self.admit(params, **fields)
        assert work is not None, "a free slot and yet no room"
        return work

    def of(self, work: Work) -> list[Event]:
        return self.events[work.job.id]

    def final(self, work: Work) -> Event | None:
        events = self.of(work)
        return events[-1] if events and is_final(events[-1]) else None

    def finish(self, *works: Work) -> list[Any]:
        """Steps until all have ended; their final events."""
        for _ in range(MANY_STEPS):
            if all(self.final(work) for work in works):
                return [self.final(work) for work in works]
            self.engine.step()
        pytest.fail("no end")

    def run(self, params: Params, **fields: Any) -> Any:
        return self.finish(self.start(params, **fields))[0]

    def text(self, params: Params, **fields: Any) -> TextResult:
        final = self.run(params, **fields)
        assert isinstance(final, Completed), final
        assert isinstance(final.result, TextResult)
        return final.result

    def clear(self) -> None:
        """Cancels what is left."""
        for work in self.open:
            work.cancelled = True
        self.finish(*self.open)

    def _receive(self, work: Work, event: Event) -> None:
        events = self.events[work.job.id]
        assert work in self.open, f"{event} after the final event"
        if isinstance(event, Started):
            assert not events, "Started comes first"
        elif not isinstance(event, Failed | Cancelled):
            assert events, "Started comes first"
        events.append(event)
        if is_final(event):
            self.open.remove(work)


class EngineLaws:
    """What holds for every engine."""

    @pytest.fixture(scope="class")
    @classmethod
    def subject(cls) -> Subject:
        raise NotImplementedError

    @pytest.fixture(scope="class")
    @classmethod
    def loaded(cls, subject: Subject) -> Iterator[Desk]:
        desk = Desk(subject)
        yield desk
        desk.engine.close()

    @pytest.fixture
    def desk(self, loaded: Desk) -> Iterator[Desk]:
        yield loaded
        loaded.clear()

    def test_models_are_cheap_and_complete(self, subject: Subject) -> None:
        """Cards name the backend, have slots and an estimate of memory, and travel as JSON."""
        for card in subject.backend.models():
            assert card.backend == subject.backend.name
            assert card.slots >= 1
            assert card.bytes > 0
            assert msgspec.json.decode(msgspec.json.encode(card), type=ModelCard) == card

    def test_loading_reports_progress(self, subject: Subject) -> None:
        """Progress grows from 0 to 1."""
        parts: list[float] = []
        subject.backend.load(subject.card, parts.append).close()
        assert parts == sorted(parts)
        assert all(0 <= part <= 1 for part in parts)
        assert parts[-1:] == [1.0]

    def test_every_job_ends_once(self, desk: Desk, subject: Subject) -> None:
        """As many jobs as there are slots all end with one `Completed`, after one `Started`."""
        works = [desk.start(subject.params(number)) for number in range(subject.card.slots)]
        for final in desk.finish(*works):
            assert isinstance(final, Completed), final

    def test_a_full_engine_says_so(self, desk: Desk, subject: Subject) -> None:
        """With all slots taken `admit` returns False and leaves the job alone; after an end there is room."""
        works = [desk.start(subject.endless) for _ in range(subject.card.slots)]
        assert desk.admit(subject.params(0)) is None
        works[0].cancelled = True
        desk.engine.step()
        desk.start(subject.params(0))

    def test_jobs_join_and_leave_between_steps(self, desk: Desk, subject: Subject) -> None:
        """A job that comes while another runs is served, and its end does not end the other."""
        if subject.card.slots < 2:
            pytest.skip("one slot")
        first = desk.start(subject.endless)
        desk.engine.step()
        second = desk.start(subject.params(1))
        assert isinstance(desk.finish(second)[0], Completed)
        assert desk.final(first) is None

    @pytest.mark.parametrize("steps", [0, 1, 2, 5])
    def test_cancel_takes_one_step(self, desk: Desk, subject: Subject, steps: int) -> None:
        """Whenever a job is cancelled, the next step ends it with `Cancelled`, and its slot is free."""
        works = [desk.start(subject.endless) for _ in range(subject.card.slots)]
        for _ in range(steps):
            desk.engine.step()
        works[-1].cancelled = True
        desk.engine.step()
        assert isinstance(desk.final(works[-1]), Cancelled)
        assert all(desk.final(work) is None for work in works[:-1])
        desk.start(subject.params(0))

    def test_a_refused_job_disturbs_nobody(self, desk: Desk, subject: Subject) -> None:
        """A job that cannot be served gets `Failed` with a code and a reason; the others go on."""
        if subject.too_much is None:
            pytest.skip("it takes everything")
        others = [desk.start(subject.params(number)) for number in range(subject.card.slots - 1)]
        final = desk.run(subject.too_much)
        assert isinstance(final, Failed)
        assert (final.code, final.retry) == (subject.refusal, False)
        assert final.message
        for other in desk.finish(*others):
            assert isinstance(other, Completed)

    def test_steps_without_work_do_no_harm(self, desk: Desk, subject: Subject) -> None:
        """`step` on an idle engine returns."""
        desk.engine.step()
        assert isinstance(desk.run(subject.params(0)), Completed)

    def test_close_frees_the_memory(self, subject: Subject) -> None:
        """Loading, working and closing again and again does not make the process grow."""
        process = psutil.Process()
        sizes = []
        for _ in range(4):
            desk = Desk(subject)
            desk.run(subject.params(0))
            desk.engine.close()
            gc.collect()
            sizes.append(process.memory_info().rss)
        assert sizes[-1] - sizes[0] < max(8 << 20, subject.card.bytes // 4), sizes

    def test_close_after_a_failed_step_takes_members_with_it(self, subject: Subject) -> None:
        """`close` works with jobs inside, as after a step that raised."""
        desk = Desk(subject)
        desk.start(subject.endless)
        desk.engine.step()
        desk.start(subject.endless)
        desk.engine.close()


class TextLaws(EngineLaws):
    """What holds for every engine that makes text."""

    prompts: tuple[str, ...]
    """Prompts whose greedy answers have at least eight tokens and differ."""
    unicode: str
    """A prompt whose greedy answer has characters of several bytes."""

    def completion(self, prompt: Any, **fields: Any) -> Completion:
        return Completion(prompt=prompt, **({"sampling": GREEDY, "max_tokens": 12} | fields))

    def test_deltas_make_up_the_answer(self, desk: Desk) -> None:
        """Texts and tokens of the deltas, put together, are the final text and tokens; `predicted` counts."""
        for prompt in (*self.prompts, self.unicode):
            work = desk.start(self.completion(prompt, max_tokens=16), stream=True)
            result = desk.finish(work)[0].result
            deltas = [event for event in desk.of(work) if isinstance(event, Delta)]
            assert "".join(delta.text for delta in deltas) == result.text
            assert tuple(token for delta in deltas for token in delta.tokens) == result.tokens
            seen = 0
            for delta in deltas:
                seen += len(delta.tokens)
                assert delta.predicted == seen

    def test_streaming_changes_nothing_but_deltas(self, desk: Desk) -> None:
        """Without `stream` there is no delta, and the text is the same."""
        work = desk.start(self.completion(self.prompts[0]))
        result = desk.finish(work)[0].result
        assert not any(isinstance(event, Delta) for event in desk.of(work))
        assert result.text == desk.text(self.completion(self.prompts[0]), stream=True).text

    def test_characters_stay_whole(self, desk: Desk) -> None:
        """No delta and no text has a part of a character, at whatever token the answer ends."""
        whole = desk.text(self.completion(self.unicode, max_tokens=14)).text
        assert any(ord(character) > 0x2000 for character in whole), whole
        for limit in range(1, 10):
            work = desk.start(self.completion(self.unicode, max_tokens=limit), stream=True)
            text = desk.finish(work)[0].result.text
            assert whole.startswith(text)
            assert "\ufffd" not in text

    def test_the_same_alone_and_among_others(self, desk: Desk, subject: Subject) -> None:
        """At temperature 0 an answer does not depend on who else is computed, nor on when they came."""
        alone = [desk.text(self.completion(prompt, cache_prompt=False)).text for prompt in self.prompts]
        assert len(set(alone)) == len(alone)
        works = []
        for number in range(subject.card.slots):
            works.append(desk.start(self.completion(self.prompts[number % len(alone)])))
            desk.engine.step()
        together = [final.result.text for final in desk.finish(*works)]
        assert together == [alone[number % len(alone)] for number in range(len(works))]

    def test_seeds_are_reproducible(self, desk: Desk) -> None:
        """The same seed gives the same text, and the result says which seed it was."""
        warm = Sampling(temperature=1.5, seed=7, top_k=0, min_p=0.0)
        first = desk.text(self.completion(self.prompts[0], sampling=warm))
        desk.start(self.completion(self.prompts[1], max_tokens=50))
        again = desk.text(self.completion(self.prompts[0], sampling=warm))
        assert (first.seed, first.text) == (7, again.text)

    def test_a_drawn_seed_can_be_used_again(self, desk: Desk) -> None:
        """Where no seed was given, the result names the one that gives the same text."""
        drawn = desk.text(self.completion(self.prompts[0], sampling=Sampling(temperature=1.5)))
        assert drawn.seed >= 0
        same = Sampling(temperature=1.5, seed=drawn.seed)
        assert desk.text(self.completion(self.prompts[0], sampling=same)).text == drawn.text

    def test_a_lost_stream_goes_on(self, desk: Desk, subject: Subject) -> None:
        """With any number of tokens already sent, deltas continue right after their text, and the result is that
        of the undisturbed job."""
        if not subject.card.can_continue:
            pytest.skip("it cannot continue")
        for prompt in (self.prompts[0], self.unicode):
            params = self.completion(prompt, max_tokens=7, stop=("zzz",))
            work = desk.start(params, stream=True)
            whole = desk.finish(work)[0].result
            sent, text = (), ""
            deltas = [event for event in desk.of(work) if isinstance(event, Delta)]
            for delta in deltas:
                sent, text = sent + delta.tokens, text + delta.text
                later = desk.start(params, stream=True, sent=sent)
                result = desk.finish(later)[0].result
                rest = [event for event in desk.of(later) if isinstance(event, Delta)]
                assert text + "".join(event.text for event in rest) == whole.text
                assert sent + tuple(token for event in rest for token in event.tokens) == whole.tokens
                assert [event.predicted for event in rest] == [
                    event.predicted for event in deltas if event.predicted > len(sent)
                ]
                assert (result.text, result.tokens, result.stop) == (whole.text, whole.tokens, whole.stop)
                assert result.usage.completion_tokens == whole.usage.completion_tokens

    def test_stop_strings_never_leak(self, desk: Desk) -> None:
        """Neither the stop string nor the begin of it is ever shown; the result names it."""
        plain = desk.text(self.completion(self.prompts[0])).text
        for begin in range(1, len(plain) - 4, 3):
            stop = plain[begin : begin + 4]
            first = plain.find(stop)
            work = desk.start(self.completion(self.prompts[0], stop=(stop, "never said")), stream=True)
            result = desk.finish(work)[0].result
            shown = ""
            for delta in desk.of(work)[1:-1]:
                assert isinstance(delta, Delta)
                shown += delta.text
                assert plain[:first].startswith(shown)
            assert shown == result.text == plain[:first]
            assert (result.stop, result.stopping_word) == ("word", stop)

    def test_what_begins_like_a_stop_string_is_shown_in_the_end(self, desk: Desk) -> None:
        """Text held back because it could have become a stop string comes when it did not."""
        plain = desk.text(self.completion(self.prompts[0])).text
        work = desk.start(self.completion(self.prompts[0], stop=(plain[-3:] + "\x00",)), stream=True)
        result = desk.finish(work)[0].result
        assert result.text == plain
        assert "".join(event.text for event in desk.of(work) if isinstance(event, Delta)) == plain

    def test_limits_are_kept(self, desk: Desk) -> None:
        """`max_tokens` tokens at most, said to be a limit, and counted; 0 gives an empty text."""
        for limit in (0, 1, 5):
            result = desk.text(self.completion(self.prompts[0], max_tokens=limit))
            assert len(result.tokens) == result.usage.completion_tokens == limit
            assert (result.stop, result.truncated) == ("limit", False)
            assert bool(result.text) == bool(limit)

    def test_usage_counts_the_prompt(self, desk: Desk) -> None:
        """`Started` and the result agree on the prompt's tokens; cached ones are among them."""
        work = desk.start(self.completion(self.prompts[0]))
        usage = desk.finish(work)[0].result.usage
        started = desk.of(work)[0]
        assert isinstance(started, Started)
        assert started.prompt_tokens == usage.prompt_tokens > 0
        assert 0 <= usage.cached_tokens < usage.prompt_tokens

    def test_the_context_ends_the_answer(self, desk: Desk, subject: Subject) -> None:
        """An answer ends at a limit, and is said to be truncated, exactly if it fills the context."""
        if subject.card.context > 1000:
            pytest.skip("a large context")
        result = desk.text(self.completion(self.prompts[0], max_tokens=-1, sampling=Sampling(ignore_eos=True)))
        full = result.usage.prompt_tokens + result.usage.completion_tokens == subject.card.context
        assert (result.stop == "limit", result.truncated) == (full, full)

    def test_a_prompt_over_the_context_is_refused(self, desk: Desk, subject: Subject) -> None:
        """The refusal has the code and the numbers that clients act on."""
        final = desk.run(self.completion("word " * (subject.card.context + 1)))
        assert isinstance(final, Failed)
        assert final.code == "context_length_exceeded"
        assert final.details["n_ctx"] == subject.card.context
        assert final.details["n_prompt_tokens"] > subject.card.context


def catalogue(tmp_path: Path, **fields: Any) -> Catalogue:
    """A catalogue over an empty folder."""
    return Catalogue(models_dir=tmp_path, **fields)
