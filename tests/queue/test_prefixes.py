"""Beginnings of prompts."""

from hypothesis import given
from hypothesis import strategies as st

from tests.queue.worker import done, working
from velesio.jobs import Chat, Completion, Image, Job
from velesio.queue.client import JobQueue
from velesio.queue.prefixes import Remembered, fingerprints


def of(params, model: str = "m") -> tuple[str, ...]:
    return fingerprints(Job.new(model, params))


@given(st.text(min_size=0, max_size=2000), st.text(max_size=600), st.text(max_size=600))
def test_equal_beginnings_have_equal_hashes(common: str, one: str, other: str) -> None:
    """Two prompts share the hashes of the whole blocks that they have in common."""
    first, second = of(Completion(common + one)), of(Completion(common + other))
    shared = len(common) // 256
    assert first[:shared] == second[:shared]
    if one[:256] != other[:256] and len(common) % 256 == 0 and min(len(one), len(other)) >= 256:
        assert first[shared] != second[shared]


def test_each_message_of_a_conversation_is_a_step() -> None:
    """The next turn of a conversation begins with the hashes of the last."""
    messages = [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": "b"},
        {"role": "user", "content": "c"},
    ]
    longer, shorter = of(Chat(messages)), of(Chat(messages[:1]))
    assert longer[:1] == shorter
    assert len(set(longer)) == 3


def test_what_cannot_share_has_none() -> None:
    """Short prompts and pictures have no beginnings; token ids and another model's prompts have their own."""
    assert of(Completion("short")) == of(Image("x" * 1000)) == ()
    assert len({of(Completion("x" * 300)), of(Completion("x" * 300), "n"), of(Completion([1] * 300))}) == 3


def test_long_prompts_have_few_hashes() -> None:
    """However long the prompt is."""
    assert len(of(Completion("x" * 1_000_000))) == 32


def test_the_oldest_is_forgotten() -> None:
    """Memory is bounded, and use keeps a beginning in it."""
    remembered = Remembered()
    for number in range(200):
        remembered.add(["kept", f"{number}"])
    assert "kept" in remembered.all()
    assert "199" in remembered.all()
    assert len(remembered.all()) == 128


async def test_a_worker_prefers_what_it_had(broker) -> None:
    """Of two waiting jobs, the one that begins like an earlier one goes first, though it came later."""
    queue = JobQueue(broker)
    system = {"role": "system", "content": "You are terse."}
    jobs = [Job.new("m", Chat([message, {"role": "user", "content": "?"}])) for message in (system, {}, system)]
    async with working(broker) as worker:
        await queue.enqueue(jobs[0])
        await worker.leases.settle(await worker.one(), done())
        for job in jobs[1:]:
            await queue.enqueue(job)
        served = []
        for _ in range(2):
            lease = await worker.one()
            served.append(lease.job.id)
            await worker.leases.settle(lease, done())
        assert served == [jobs[2].id, jobs[1].id]
