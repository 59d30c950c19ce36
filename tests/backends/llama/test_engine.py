"""The engine on SmolLM2: prompts of every kind, reuse, room, continuing, fairness."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.backends.conformance import Desk
from tests.backends.llama import tiny
from tests.backends.llama.conftest import subject_of
from velesio.backends.base import Work
from velesio.jobs import Chat, Completed, Completion, Delta, Failed, Image, Sampling, Started, TextResult

GREEDY = Sampling(temperature=0)
LONG = "The history of the lighthouse begins with fires on hills, which showed sailors the way home. " * 4


def completion(prompt: Any, **fields: Any) -> Completion:
    return Completion(prompt=prompt, **({"sampling": GREEDY, "max_tokens": 8} | fields))


def engine(desk: Desk) -> Any:
    return desk.engine


def tokens_of(desk: Desk, text: str) -> list[int]:
    found: list[int] = engine(desk)._model.tokenize(text)
    return found


# Prompts


def test_a_sentence_is_completed(desk: Desk) -> None:
    """The model knows what every model knows."""
    assert "Paris" in desk.text(completion("The capital of France is")).text


def test_a_chat_is_rendered_with_the_models_template(desk: Desk) -> None:
    """The result tells the prompt as the model saw it; the model's own system text comes with its template."""
    params = Chat(messages=[{"role": "user", "content": "What is 2+2?"}], sampling=GREEDY, max_tokens=24)
    result = desk.text(params)
    assert result.prompt.startswith("<|im_start|>system\nYou are a helpful AI assistant named SmolLM")
    assert result.prompt.endswith("<|im_start|>user\nWhat is 2+2?<|im_end|>\n<|im_start|>assistant\n")
    assert "4" in result.text
    assert result.stop == "eos"
    assert "<|im_end|>" not in result.text


def test_a_chat_goes_on_where_the_assistant_began(desk: Desk) -> None:
    """A last message of the assistant is continued and not said again."""
    messages = [{"role": "user", "content": "Count to five."}, {"role": "assistant", "content": "One, two, three,"}]
    result = desk.text(Chat(messages=messages, sampling=GREEDY, max_tokens=4))
    assert result.text.startswith(" four")
    assert result.prompt.endswith("assistant\nOne, two, three,")


def test_prompts_may_mix_texts_and_ids(desk: Desk) -> None:
    """Ids are taken as they are, texts tokenized in place; the result tells the text."""
    whole = desk.text(completion("1 2 3 4 5 6 7 8"))
    result = desk.text(completion([*tokens_of(desk, "1 2 3"), " 4 5 6", *tokens_of(desk, " 7 8")]))
    assert (result.text, result.prompt) == (whole.text, "1 2 3 4 5 6 7 8")
    assert whole.prompt == ""


@pytest.mark.parametrize(
    ("params", "code", "message"),
    [
        (completion([1, 49152]), "invalid_request", "no token 49152.*0 to 49151"),
        (completion([-1]), "invalid_request", "no token -1"),
        (completion(""), "invalid_request", "empty"),
        (completion([]), "invalid_request", "empty"),
        (completion("x", sampling=Sampling(samplers=("magic",))), "invalid_request", "magic.*top_k"),
        (completion("x", sampling=Sampling(logit_bias=((60000, 1.0),))), "invalid_request", "60000"),
        (Chat(messages=[{"role": "user", "content": [{"type": "image_url"}]}]), "invalid_request", "image_url"),
        (Image(prompt="x"), "not_supported", "text"),
        (completion("x", stop=("stop",) * 129), "invalid_request", "at most 128"),
        (completion("word " * 600), "context_length_exceeded", "601 tokens.*512 tokens"),
    ],
)
def test_what_cannot_be_served_is_refused(desk: Desk, params: Any, code: str, message: str) -> None:
    """The code, and a message that says what is wrong."""
    final = desk.run(params)
    assert isinstance(final, Failed)
    assert final.code == code
    assert re.search(message, final.message), final.message


# Sampling


def test_a_bias_makes_and_breaks_tokens(desk: Desk) -> None:
    """A forbidden text is never said; a token with a large bias always is."""
    assert (
        "Paris"
        not in desk.text(
            completion("The capital of France is", sampling=Sampling(temperature=0, logit_bias=((" Paris", None),)))
        ).text
    )
    (token,) = tokens_of(desk, " cat")
    forced = Sampling(temperature=0.8, logit_bias=((token, 1000.0),))
    assert desk.text(completion("The", sampling=forced, max_tokens=3)).text == " cat cat cat"


def test_end_tokens_can_be_ignored(desk: Desk) -> None:
    """With `ignore_eos` only the limit ends an answer that would have ended."""
    messages = [{"role": "user", "content": "Say only: yes"}]
    short = desk.text(Chat(messages=messages, sampling=GREEDY, max_tokens=60))
    assert short.stop == "eos"
    more = len(short.tokens) + 5
    ignoring = Sampling(temperature=0, ignore_eos=True)
    result = desk.text(Chat(messages=messages, sampling=ignoring, max_tokens=more))
    assert (result.stop, len(result.tokens)) == ("limit", more)


def test_penalties_see_the_prompt(desk: Desk) -> None:
    """A repetition penalty counts the prompt's tokens, as llama.cpp's server does."""
    strong = Sampling(temperature=0, repeat_penalty=5.0, repeat_last_n=-1)
    prompt = "red green blue red green blue red green"
    assert desk.text(completion(prompt, max_tokens=1)).text == " blue"
    assert desk.text(completion(prompt, sampling=strong, max_tokens=1)).text != " blue"


EVERY = Sampling(
    seed=3,
    temperature=1.2,
    dynatemp_range=0.3,
    top_n_sigma=2.0,
    typical_p=0.95,
    xtc_probability=0.5,
    repeat_penalty=1.1,
    presence_penalty=0.1,
    frequency_penalty=0.1,
    dry_multiplier=0.8,
    min_keep=1,
    logit_bias=((5, -1.0),),
)


@pytest.mark.parametrize(
    "sampling",
    [EVERY, Sampling(seed=3, mirostat=1), Sampling(seed=3, mirostat=2), Sampling(seed=3, samplers=())],
    ids=["every", "mirostat", "mirostat 2", "none"],
)
def test_every_sampler_works_and_is_reproducible(desk: Desk, sampling: Sampling) -> None:
    """Each of llama.cpp's samplers can be built, and the seed decides."""
    first, again = (desk.text(completion("My favourite", sampling=sampling, max_tokens=12)) for _ in range(2))
    assert first.text == again.text
    assert len(first.tokens) == 12


def test_other_seeds_give_other_texts(desk: Desk) -> None:
    """Without a seed two answers differ."""
    texts = {
        desk.text(completion("My favourite", sampling=Sampling(temperature=1.5), max_tokens=12)).text for _ in "ab"
    }
    assert len(texts) == 2


# Prefix reuse


def test_the_same_prompt_again_is_not_computed_again(desk: Desk) -> None:
    """All but the last tokens come from the cache, and the answer is the same."""
    first = desk.text(completion(LONG))
    work = desk.start(completion(LONG))
    (final,) = desk.finish(work)
    again = final.result
    assert again.text == first.text
    assert again.usage.cached_tokens == again.usage.prompt_tokens - 2
    assert [event.cached_tokens for event in desk.of(work) if isinstance(event, Started)] == [again.usage.cached_tokens]


def test_an_answer_is_reused_by_the_next_turn(desk: Desk) -> None:
    """What was generated is cached too: a conversation computes only what is new."""
    first = desk.text(completion(LONG + "Once", max_tokens=20))
    known = first.usage.prompt_tokens + first.usage.completion_tokens
    prompt = tokens_of(desk, LONG + "Once") + list(first.tokens) + tokens_of(desk, " And then what?")
    assert desk.text(completion(prompt)).usage.cached_tokens == known - 1


def test_reuse_can_be_declined(desk: Desk) -> None:
    """`cache_prompt` false computes everything and leaves nothing behind."""
    desk.text(completion(LONG))
    work = desk.start(completion(LONG, cache_prompt=False))
    assert desk.finish(work)[0].result.usage.cached_tokens == 0
    assert [event.cached_tokens for event in desk.of(work) if isinstance(event, Started)] == [0]
    desk.text(completion("Unique words here: " + LONG, cache_prompt=False))
    assert desk.text(completion("Unique words here: " + LONG)).usage.cached_tokens < 10


@pytest.mark.parametrize("unified", [False, True])
def test_a_running_sequence_lends_its_prefix(make_desk: Callable[..., Desk], unified: bool) -> None:
    """Jobs that arrive together with a prefix in common compute it once, but for less than is worth waiting for."""
    desk = make_desk(context=512, slots=4, kv_unified=unified)
    works = [desk.start(completion(f"{LONG}Number {number}:")) for number in range(4)]
    usages = [final.result.usage for final in desk.finish(*works)]
    assert usages[0].cached_tokens == 0
    for usage in usages[1:]:
        assert usage.prompt_tokens - usage.cached_tokens < 32


def test_tenants_can_be_kept_apart(make_desk: Callable[..., Desk]) -> None:
    """With `isolate_cache` a tenant reuses its own prefixes only."""
    desk = make_desk(context=512, slots=2, isolate_cache=True)
    desk.text(completion(LONG), tenant="a")
    assert desk.text(completion(LONG), tenant="b").usage.cached_tokens == 0
    assert desk.text(completion(LONG), tenant="a").usage.cached_tokens > 50


def test_answers_do_not_depend_on_neighbours_that_come_and_go(make_desk: Callable[..., Desk]) -> None:
    """Sequences are moved together when others leave between them, and say what they say alone."""
    desk = make_desk(context=256, slots=6)
    prompts = [f"Chapter {number}. It was" for number in range(6)]
    warm = Sampling(seed=4, temperature=0.9)
    alone = [desk.text(completion(prompt, sampling=warm, max_tokens=18)).text for prompt in prompts]
    works = [desk.start(completion(prompt, sampling=warm, max_tokens=18)) for prompt in prompts]
    for _ in range(13):
        desk.engine.step()
    for number in (1, 3, 4):
        works[number].cancelled = True
    cells: set[int] = set()
    while not all(desk.final(works[number]) for number in (0, 2, 5)):
        desk.engine.step()
        if len(running := engine(desk)._running) == 3:
            cells = {sequence.cell for sequence in running}
    assert max(cells) - min(cells) == 2
    assert [desk.final(works[number]).result.text for number in (0, 2, 5)] == [alone[number] for number in (0, 2, 5)]


# Room


def test_when_cells_run_out_the_youngest_waits_and_nobody_fails(make_desk: Callable[..., Desk]) -> None:
    """Eight jobs that together need twice the cells all finish, as long as asked, in order of arrival."""
    desk = make_desk(context=256, slots=8, kv_unified=True, cells=256)
    assert engine(desk)._context.n_cells == 256
    forever = Sampling(temperature=0, ignore_eos=True)
    works = [desk.start(completion(f"{number}. {LONG[:200]}", sampling=forever, max_tokens=10)) for number in range(8)]
    ended: list[Work] = []
    while len(ended) < 8:
        desk.engine.step()
        ended += [work for work in works if desk.final(work) and work not in ended]
    for work in works:
        final = desk.final(work)
        assert isinstance(final, Completed)
        assert isinstance(final.result, TextResult)
        assert len(final.result.tokens) == 10
        assert final.result.usage.prompt_tokens > 40
    assert ended[:3] == works[:3]
    assert sum(isinstance(event, Started) for work in works for event in desk.of(work)) == 8


def test_kept_prefixes_give_way_to_running_jobs(make_desk: Callable[..., Desk]) -> None:
    """A full pool of kept prefixes does not make a new job wait."""
    desk = make_desk(context=256, slots=4, kv_unified=True, cells=256)
    for number in range(4):
        desk.text(completion(f"{number} {LONG[:400]}"))
    assert desk.text(completion(f"x {LONG[:500]}", max_tokens=9)).usage.completion_tokens == 9


def test_cancelled_sequences_free_their_cells(make_desk: Callable[..., Desk]) -> None:
    """Cancelling in whatever phase leaves no sequence running and no sampler behind."""
    desk = make_desk(context=512, slots=4)
    works = [desk.start(completion(f"{number}{LONG}", max_tokens=100)) for number in range(4)]
    for work in works:
        desk.engine.step()
        work.cancelled = True
    desk.engine.step()
    assert all(desk.final(work) for work in works)
    assert engine(desk)._running == engine(desk)._waiting == []
    assert engine(desk)._slots == [None] * 4


def test_a_long_prompt_does_not_hold_up_others(make_desk: Callable[..., Desk]) -> None:
    """While a prompt is computed in pieces, a running stream gets a token at least every second step."""
    desk = make_desk(context=512, slots=2, pause=0.05)
    first = desk.start(completion("Once upon a time", max_tokens=60), stream=True)
    while len(desk.of(first)) < 3:
        desk.engine.step()
    second = desk.start(completion(LONG * 3))
    steps = 0
    while not any(sequence.work is second and sequence.left == 1 for sequence in engine(desk)._running):
        before = len(desk.of(first))
        desk.engine.step()
        desk.engine.step()
        steps += 1
        assert len(desk.of(first)) > before
    assert steps > 2


def test_a_short_prompt_overtakes_a_long_one(make_desk: Callable[..., Desk]) -> None:
    """It has its first token while the long one, which came before, is still computed."""
    desk = make_desk(context=512, slots=2, batch=32)
    long = desk.start(completion(LONG * 3), stream=True)
    short = desk.start(completion("One two three four five", max_tokens=1), stream=True)
    desk.finish(short)
    assert len(desk.of(long)) == 1
    assert desk.finish(long)


# Slots, limits, continuing


def test_the_slot_asked_for_is_taken_if_it_is_free(desk: Desk) -> None:
    """`id_slot` is a wish; results tell the slot."""
    assert desk.text(completion("a", id_slot=2)).slot == 2
    assert desk.text(completion("a", id_slot=99)).slot == 0
    holder = desk.start(completion("a", max_tokens=50, id_slot=1))
    assert desk.text(completion("b", id_slot=1)).slot == 0
    holder.cancelled = True


def test_nothing_to_generate_is_quick_and_fills_the_cache(desk: Desk) -> None:
    """`max_tokens` 0 computes the prompt, so that the next job finds it."""
    prompt = "A prompt to be warmed up. " * 8
    result = desk.text(completion(prompt, max_tokens=0))
    assert (result.text, result.tokens, result.stop) == ("", (), "limit")
    assert result.timings.prompt_ms > 0
    assert desk.text(completion(prompt)).usage.cached_tokens > 40


@pytest.mark.parametrize(
    ("fields", "stop"),
    [({"max_tokens": 6}, "limit"), ({"max_tokens": 40, "stop": (" 12",)}, "word")],
)
def test_a_stream_that_was_complete_is_only_closed(desk: Desk, fields: dict[str, Any], stop: str) -> None:
    """If the lost worker had sent the last token, nothing is sent again and nothing computed."""
    params = completion("1 2 3 4 5 6 7 8", **fields)
    work = desk.start(params, stream=True)
    whole = desk.finish(work)[0].result
    assert whole.stop == stop
    later = desk.start(params, stream=True, sent=whole.tokens)
    result = desk.finish(later)[0].result
    assert not any(isinstance(event, Delta) for event in desk.of(later))
    assert (result.text, result.tokens, result.stop) == (whole.text, whole.tokens, whole.stop)


def test_the_begin_mark_is_not_doubled(make_desk: Callable[..., Desk], monkeypatch: pytest.MonkeyPatch) -> None:
    """A template that writes the begin mark and a vocabulary that adds it give one."""
    desk = make_desk(context=256, slots=1)
    model = engine(desk)._model
    bos = model.tokenize(model.bos_text)[0]
    monkeypatch.setattr(model, "adds_bos", True)
    tokenize = model.tokenize
    monkeypatch.setattr(
        model, "tokenize", lambda text, *, special=False: [bos] * special + tokenize(text, special=False)
    )
    chat = Chat(messages=[{"role": "user", "content": "Hi"}], max_tokens=1)
    prompt = engine(desk)._intake.prompt(chat)
    assert prompt.text.startswith(model.bos_text)
    assert prompt.tokens[:2] != [bos, bos]
    assert prompt.tokens[0] == bos


def test_timings_and_usage_add_up(desk: Desk) -> None:
    """Prompt and answer take time, one after the other."""
    result = desk.text(completion("1 2 3 4", max_tokens=10))
    assert result.timings.prompt_ms > 0
    assert result.timings.predicted_ms > 0
    assert result.usage.completion_tokens == 10


# A full context


def test_a_full_context_is_shifted_where_asked(make_desk: Callable[..., Desk]) -> None:
    """Generation goes on without the oldest tokens; up to there the answer is what a larger context gives."""
    desk = make_desk(context=64, slots=2)
    params = completion(
        "1 2 3 4 5 6 7 8", sampling=Sampling(temperature=0, ignore_eos=True), max_tokens=150, shift=True
    )
    shifted = desk.text(params)
    assert (len(shifted.tokens), shifted.stop, shifted.truncated) == (150, "limit", True)
    whole = make_desk(context=256, slots=2).text(params)
    assert shifted.tokens[:40] == whole.tokens[:40]
    assert not whole.truncated


def test_without_a_shift_a_full_context_ends_the_answer(make_desk: Callable[..., Desk]) -> None:
    """The default of the option, and of llama.cpp's server."""
    desk = make_desk(context=64, slots=1)
    result = desk.text(completion("1 2 3 4", sampling=Sampling(temperature=0, ignore_eos=True), max_tokens=-1))
    assert (result.stop, result.truncated) == ("limit", True)
    assert result.usage.prompt_tokens + result.usage.completion_tokens == 64


def test_a_shift_keeps_what_it_is_told_to_keep(make_desk: Callable[..., Desk]) -> None:
    """With `n_keep` -1 the whole prompt stays in view: the model still sees what it was told at the begin."""
    desk = make_desk(context=96, slots=1, context_shift=True)
    forever = Sampling(temperature=0, ignore_eos=True)
    secret = "The secret word is lighthouse."
    work = desk.start(completion(secret, sampling=forever, max_tokens=200, n_keep=-1, n_discard=16))
    prompt = tokens_of(desk, secret)
    shifts = 0
    while not desk.final(work):
        desk.engine.step()
        for sequence in engine(desk)._running:
            assert list(sequence.tokens[: len(prompt)]) == prompt
            assert len(sequence.tokens) <= 96
            shifts += sequence.truncated
    assert shifts > 0
    assert desk.final(work).result.usage.completion_tokens == 200


def test_what_was_shifted_is_not_taken_for_a_prefix(make_desk: Callable[..., Desk]) -> None:
    """The cells of a shifted sequence are no longer those of its tokens, so nobody reuses them."""
    desk = make_desk(context=64, slots=2)
    forever = Sampling(temperature=0, ignore_eos=True)
    desk.text(completion("1 2 3 4 5 6 7 8", sampling=forever, max_tokens=100, shift=True))
    assert engine(desk)._cells.used == 0


# Parking


def test_a_parked_state_is_copied_back(make_desk: Callable[..., Desk]) -> None:
    """What another job drove out is not computed again, and the answer is the same."""
    desk = make_desk(context=512, slots=1, parked=200_000_000)
    first = desk.text(completion("One. " + LONG))
    desk.text(completion("Two. " + LONG))
    again = desk.text(completion("One. " + LONG))
    assert again.usage.cached_tokens >= again.usage.prompt_tokens - 3
    assert again.text == first.text


def test_nothing_is_parked_by_default(make_desk: Callable[..., Desk]) -> None:
    """With one slot the second prompt drives the first one out."""
    desk = make_desk(context=512, slots=1)
    desk.text(completion("One. " + LONG))
    desk.text(completion("Two. " + LONG))
    assert desk.text(completion("One. " + LONG)).usage.cached_tokens < 8


# Speculation

REPEATING = "def add(a, b):\n    return a + b\n\ndef sub(a, b):\n    return a - b\n\n" * 3


@pytest.mark.parametrize("draft", [False, True], ids=["lookup", "draft model"])
def test_guesses_do_not_change_a_greedy_answer(make_desk: Callable[..., Desk], smollm2: Any, draft: bool) -> None:
    """With and without speculation, alone and together: the same tokens, and guesses were made and were right."""
    options = {"context": 512, "slots": 2, "flash_attention": "on"}
    plain = make_desk(**options, speculation="off")
    guessing = make_desk(**options, draft=str(smollm2) if draft else "")
    engine(guessing)._speculation._worth.best = lambda numbers, count: 4  # whether it pays or not
    drafted = accepted = 0
    for prompts in ([REPEATING], [LONG], [REPEATING, LONG]):
        expected = [plain.text(completion(prompt, max_tokens=40)).tokens for prompt in prompts]
        works = [guessing.start(completion(prompt, max_tokens=40)) for prompt in prompts]
        results = [final.result for final in guessing.finish(*works)]
        assert [result.tokens for result in results] == expected
        drafted += sum(result.timings.drafted for result in results)
        accepted += sum(result.timings.accepted for result in results)
        for times in (result.timings for result in results):
            assert times.accepted == sum(times.accepted_at)
            assert times.drafts <= times.drafted <= 4 * times.drafts
            assert list(times.accepted_at) == sorted(times.accepted_at, reverse=True)
    assert 0 < accepted <= drafted


# Many jobs in few cells


def check_that_all_finish_in_turn(desk: Desk, prompts: list[str], total: int) -> None:
    """Each job is as long as asked, `total` tokens with its prompt. Nobody ends before another that came so much
    earlier that both never had room together, and few are interrupted, once each."""
    forever = Sampling(temperature=0, ignore_eos=True)
    lengths = [total - len(tokens_of(desk, prompt)) for prompt in prompts]
    works = [
        desk.start(completion(prompt, sampling=forever, max_tokens=length, cache_prompt=False))
        for prompt, length in zip(prompts, lengths, strict=True)
    ]
    ended: list[Work] = []
    interrupted: list[int] = []
    interrupt = engine(desk)._cells.interrupt
    engine(desk)._cells.interrupt = lambda sequence: (interrupted.append(sequence.number), interrupt(sequence))
    while len(ended) < len(works):
        desk.engine.step()
        ended += [work for work in works if desk.final(work) and work not in ended]
    for work, length in zip(works, lengths, strict=True):
        final = desk.final(work)
        assert isinstance(final, Completed), final
        assert isinstance(final.result, TextResult)
        assert len(final.result.tokens) == length
    assert len(works) // 4 < len(interrupted) <= len(works), "there was room for all, or jobs drove each other out"
    together = len(works) // 2
    assert all(abs(ended.index(work) - place) < together for place, work in enumerate(works))


def test_thirty_two_jobs_share_cells_for_half_of_them(tmp_path: Path) -> None:
    """4,096 cells, 32 jobs that need twice that: all finish in the order in which they came, as long as asked."""
    desk = Desk(subject_of(tiny.decoder(tmp_path / "m.gguf"), context=512, slots=32, kv_unified=True, cells=4096))
    assert engine(desk)._context.n_cells == 4096
    check_that_all_finish_in_turn(desk, [f"{number:02} {LONG[:120]}" for number in range(32)], 256)
    desk.engine.close()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_thirty_two_stories_share_cells_for_half_of_them(make_desk: Callable[..., Desk]) -> None:
    """The same with a model that was trained."""
    desk = make_desk(context=512, slots=32, kv_unified=True, cells=4096)
    check_that_all_finish_in_turn(desk, [f"Story number {number}: {LONG * 3}" for number in range(32)], 256)


def test_one_of_sixteen_says_what_it_says_alone(make_desk: Callable[..., Desk]) -> None:
    """At temperature 0, and for the same seed at 0.8, among fifteen others that come and end at other times."""
    desk = make_desk(context=128, slots=16)
    prompts = [f"Chapter {number}. On a cold morning in the harbour" for number in range(16)]
    cases = [Sampling(temperature=0), Sampling(temperature=0.8, seed=11)]
    asked = [
        completion(prompt, sampling=cases[number % 2], max_tokens=16 + 2 * (number % 5))
        for number, prompt in enumerate(prompts)
    ]
    examined = (0, 5, 10, 15)
    alone = [desk.text(asked[number]).text for number in examined]
    assert len(set(alone)) == 4
    works = []
    for params in asked:
        works.append(desk.start(params))
        if len(works) % 3 == 0:
            desk.engine.step()
    desk.finish(*works)
    texts = [desk.final(works[number]).result.text for number in examined]  # type: ignore[union-attr]
    assert texts == alone
