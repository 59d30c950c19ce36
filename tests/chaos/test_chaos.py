"""The chaos run: whatever dies, stops or loses its words, every client gets its text once, every job ends once."""

import asyncio
import random
import secrets
import signal
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path

import aiohttp
import redis

from tests.chaos.broker import BrokerServer, faults, idle
from tests.chaos.clients import Ask, Clients, Tally
from tests.chaos.cluster import LEASE, QUICK, Cluster, echo
from tests.chaos.conftest import MakeBroker
from tests.queue.proxy import Proxy

CRASHES = 5
"""Deaths of its worker that a job survives; chance must not bring a harmless job to more."""
TOXIC_EVERY = 20.0
SETTLED_WITHIN = 45.0


class Chaos:
    """Does harm at random until it is cancelled."""

    def __init__(self, cluster: Cluster, broker: BrokerServer, proxies: list[Proxy], seed: int) -> None:
        self.done: Counter[str] = Counter()
        self.history: list[str] = []
        self._began = time.monotonic()
        self._cluster = cluster
        self._broker = broker
        self._proxies = proxies
        self._dice = random.Random(seed)
        self._harms: list[tuple[int, Callable[[], Awaitable[None]]]] = [
            (6, self._kill),
            (4, self._stop_briefly),
            (3, self._stop_for_long),
            (2, self._restart_gracefully),
            (2, self._restart_broker),
            (1, self._pause_broker),
            (2, self._kill_connections),
            (3, self._swallow),
            (2, self._drop),
        ]
        self._healing: set[asyncio.Task[None]] = set()

    async def run(self, seconds: float) -> None:
        weights, harms = zip(*self._harms, strict=True)
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await asyncio.sleep(self._dice.uniform(0.5, 2.0))
            await self._dice.choices(harms, weights)[0]()
        await asyncio.gather(*self._healing)

    def _note(self, what: str, detail: str = "") -> None:
        self.done[what] += 1
        self.history.append(f"{time.monotonic() - self._began:.2f} {what} {detail}".rstrip())

    def _later(self, seconds: float, heal: Callable[[], None]) -> None:
        async def wait() -> None:
            await asyncio.sleep(seconds)
            heal()

        task = asyncio.create_task(wait())
        self._healing.add(task)
        task.add_done_callback(self._healing.discard)

    def _victim(self) -> str:
        return self._dice.choice(self._cluster.workers)

    async def _kill(self) -> None:
        victim = self._victim()
        self._note("kills", victim)
        self._cluster.signal(victim, signal.SIGKILL)

    async def _stop_briefly(self) -> None:
        self._stop(self._dice.uniform(0.1, 0.8) * LEASE)

    async def _stop_for_long(self) -> None:
        self._stop(self._dice.uniform(1.3, 2.5) * LEASE)

    def _stop(self, seconds: float) -> None:
        victim = self._victim()
        if victim not in self._cluster.stopped:
            self._note("stops", f"{victim} for {seconds:.2f}")
            self._cluster.stop(victim)
            self._later(seconds, lambda: self._cluster.go_on(victim))

    async def _restart_gracefully(self) -> None:
        victim = self._victim()
        self._note("drains", victim)
        self._cluster.signal(victim, signal.SIGTERM)

    async def _restart_broker(self) -> None:
        seconds = self._dice.choice((0.0, 0.5, 2.5, 1.5 * LEASE))
        self._note("broker restarts", f"after {seconds}")
        self._broker.kill()
        await asyncio.sleep(seconds)
        await asyncio.to_thread(self._broker.start)

    async def _pause_broker(self) -> None:
        seconds = self._dice.uniform(0.3, 1.5) * LEASE
        self._note("broker stops", f"for {seconds:.2f}")
        self._broker.pause()
        await asyncio.sleep(seconds)
        self._broker.resume()

    async def _kill_connections(self) -> None:
        kind = self._dice.choice(("normal", "pubsub"))
        self._note("client kills", kind)
        with suppress(redis.RedisError):
            self._broker.client.execute_command("CLIENT", "KILL", "TYPE", kind, "SKIPME", "yes")

    async def _swallow(self) -> None:
        number, seconds = self._dice.randrange(len(self._proxies)), self._dice.uniform(0.05, 3.0)
        self._note("swallows", f"proxy {number} for {seconds:.2f}")
        proxy = self._proxies[number]
        proxy.swallow = True

        def speak() -> None:
            proxy.swallow = False
            proxy.drop()  # what was swallowed never comes

        self._later(seconds, speak)

    async def _drop(self) -> None:
        number = self._dice.randrange(len(self._proxies))
        self._note("cuts", f"proxy {number}")
        self._proxies[number].drop()


async def test_chaos(
    folder: Path,
    make_broker: MakeBroker,
    chaos_seconds: float,
    chaos_seed: int | None,
    record_property: Callable[[str, object], None],
) -> None:
    """Workers die and stop, the broker dies, connections break, answers get lost, jobs kill their workers: each client
    gets its text once, each job ends once, toxic jobs end as dead letters, and nothing is left behind."""
    seed = secrets.randbelow(1_000_000) if chaos_seed is None else chaos_seed
    print(f"seed {seed}")
    broker = make_broker()
    async with Proxy(broker.socket_url) as first, Proxy(broker.socket_url) as second:
        urls = {
            "gateway-0": first.url,
            "gateway-1": broker.url,
            "worker-0": second.url,
            "worker-1": broker.url,
            "worker-2": broker.url,
        }
        cluster = Cluster(folder, (*QUICK, f"queue.max_crashes={CRASHES}", echo()), urls)
        clients = None
        try:
            await cluster.start()
            clients = Clients([server.url for server in cluster.gateways], seed)
            chaos = Chaos(cluster, broker, [first, second], seed)
            pulse = Pulse(cluster)
            watching = [asyncio.create_task(_watch(cluster)), asyncio.create_task(pulse.run())]
            await clients.start(10)
            poisoning = asyncio.create_task(_poison(clients))
            await chaos.run(chaos_seconds)
            poisoning.cancel()
            late = await clients.stop(SETTLED_WITHIN)
            settled = await _until(lambda: idle(broker.client), SETTLED_WITHIN)
            misplaced = _misplaced(broker.client, clients.tally)
            report = _report(seed, chaos_seconds, clients.tally, chaos, cluster)
            record_property("chaos", report)
            print(report)
            for task in watching:
                task.cancel()
            wrong = [
                *clients.tally.wrong,
                *([f"{late} answers never came"] if late else []),
                *([] if settled else ["the broker still holds live jobs"]),
                *faults(broker.client),
                *misplaced,
                *cluster.defects(),
                *pulse.misses,
            ]
            if wrong:
                print(*chaos.history, *_told(cluster, wrong), sep="\n")
            assert not wrong, "\n".join([report, *wrong[:40]])
        finally:
            if clients is not None:
                await clients.close()
            await cluster.close()


def _told(cluster: Cluster, wrong: list[str]) -> list[str]:
    """What the logs say of the jobs that went wrong."""
    ids = {word for line in wrong for word in line.replace(":", " ").split() if len(word) == 32}
    return sorted(line for log in cluster.logs() for line in log.splitlines() if any(job in line for job in ids))


class Pulse:
    """Asks every gateway all the time whether it lives, and counts how long it was unready."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self.misses: list[str] = []

    async def run(self) -> None:
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
            while True:
                for server in self._cluster.gateways:
                    try:
                        async with session.get(f"{server.url}/livez") as answer:
                            if answer.status != 200:
                                self.misses.append(f"/livez said {answer.status}")
                    except (aiohttp.ClientError, TimeoutError) as error:
                        self.misses.append(f"/livez: {error!r}")
                await asyncio.sleep(0.2)


async def _watch(cluster: Cluster) -> None:
    while True:
        cluster.bury()
        await asyncio.sleep(0.1)


async def _poison(clients: Clients) -> None:
    while True:
        clients.poison()
        clients.poison(crashes=False)
        await asyncio.sleep(TOXIC_EVERY)


async def _until(condition: Callable[[], bool], within: float) -> bool:
    end = time.monotonic() + within
    while not condition():
        if time.monotonic() > end:
            return False
        await asyncio.sleep(0.1)
    return True


def _misplaced(client: redis.Redis, tally: Tally) -> list[str]:
    """Accepted jobs whose record does not say what their client heard."""
    found = []
    for job_id, ask in tally.jobs.items():
        state, crashes = client.hmget(f"{{vel}}:j:{job_id}", "st", "crash")
        if state not in _states(ask):
            found.append(f"{job_id} {ask.kind} is {state}")
        if ask.kind == "toxic" and int(crashes or 0) != CRASHES + 1:
            found.append(f"{job_id} died after {crashes} crashes")
        elif ask.kind != "toxic":
            tally.unlucky = max(tally.unlucky, int(crashes or 0))
        dead = client.zscore("{vel}:dead", job_id) is not None
        if dead != bool(ask.error):
            found.append(f"{job_id} {ask.kind} is {'a' if dead else 'no'} dead letter")
    return found


def _states(ask: Ask) -> tuple[str, ...]:
    if ask.error:
        return ("failed",)
    return ("done", "cancelled") if ask.leave_after else ("done",)


def _report(seed: int, seconds: float, tally: Tally, chaos: Chaos, cluster: Cluster) -> str:
    exits = cluster.exits()
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(tally.asked.items()))
    harms = ", ".join(f"{name} {count}" for name, count in sorted(chaos.done.items()))
    refusals = ", ".join(f"{count} {code}" for code, count in sorted(tally.refused.items())) or "none"
    statuses = ", ".join(f"{count} {role} {status}" for (role, status), count in sorted(exits.items()))
    return (
        f"seed {seed}, {seconds:g} s: jobs {sum(tally.asked.values())} ({kinds}); {harms}; exits {statuses}; "
        f"refused before acceptance {refusals}; longest silence in a stream {tally.longest:.1f} s; most crashes of a "
        f"harmless job {tally.unlucky}; "
        f"lost {tally.lost}, duplicated {tally.duplicated}, otherwise wrong "
        f"{len(tally.wrong) - tally.lost - tally.duplicated}"
    )
