"""The queue as a few lines of Python: what the scripts must amount to."""

from dataclasses import dataclass, field

LIVE = {"s", "q", "r"}


@dataclass
class ModelJob:
    id: str
    tenant: str
    priority: int
    cost: float
    weight: float
    deadline: int
    state: str = "q"
    tag: float = 0.0
    due: int = 0
    attempt: int = 0
    crashes: int = 0
    releases: int = 0
    suspect_since: int = 0
    host: str = ""
    hosted: int = 0
    busy: int = 0
    lost: int = 0
    owner: str = ""
    cancelled: str = ""


@dataclass
class ModelQueue:
    """One model's queue. Times in ms; leases run out when the test says so."""

    cap: int
    tenant_cap: int
    max_attempts: int
    max_crashes: int
    retry_max: int
    alone_wait: int
    jobs: dict[str, ModelJob] = field(default_factory=dict)
    virtual: dict[int, float] = field(default_factory=dict)
    last: dict[tuple[int, str], float] = field(default_factory=dict)
    turn: int = 0

    def of(self, *states: str) -> list[ModelJob]:
        return [job for job in self.jobs.values() if job.state in states]

    def waiting(self, priority: int) -> list[ModelJob]:
        return sorted((job for job in self.of("q") if job.priority == priority), key=lambda job: (job.tag, job.id))

    def enqueue(self, job: ModelJob, delay: int, now: int) -> str:
        if job.id in self.jobs:
            return "DUP"
        if len(self.of("q")) >= self.cap:
            return "FULL"
        if sum(other.tenant == job.tenant for other in self.of("q", "s")) >= self.tenant_cap:
            return "TENANT"
        if job.priority not in self.virtual:
            ahead = self.waiting(job.priority)
            start = ahead[0].tag if ahead else 0.0
        else:
            start = self.virtual[job.priority]
        key = (job.priority, job.tenant)
        job.tag = max(start, self.last.get(key, 0.0))
        self.last[key] = job.tag + job.cost / job.weight
        job.state, job.due = ("s", now + delay) if delay else ("q", 0)
        self.jobs[job.id] = job
        return "OK"

    def promote(self, now: int) -> None:
        for job in self.of("s"):
            if job.due <= now:
                job.state = "q"

    def take(self, owner: str, room: int, running: int, now: int) -> list[str]:
        self.promote(now)
        taken: list[str] = []
        blocked = False
        open_classes = {priority for priority in range(3) if self.waiting(priority)}
        while room > len(taken) and not blocked and open_classes:
            priority, turn = self._next_class(open_classes)
            job, expired, blocked = self._choose(owner, priority, running + len(taken), now)
            if job:
                self.turn = turn
                self._lease(job, owner, now)
                taken.append(job.id)
                blocked = job.crashes > 0
            elif not expired:
                open_classes.discard(priority)
        return taken

    def _next_class(self, open_classes: set[int]) -> tuple[int, int]:
        turns = (0, 1, 0, 0, 1, 0, 2, 0, 0, 1, 0, 1, 0)
        turn = self.turn
        while True:
            turn = turn % 13 + 1
            if turns[turn - 1] in open_classes:
                return turns[turn - 1], turn

    def _choose(self, owner: str, priority: int, running: int, now: int) -> tuple[ModelJob | None, bool, bool]:
        expired = False
        for job in self.waiting(priority):
            if job.deadline <= now:
                self.end(job, "failed")
                expired = True
            elif job.crashes and running:
                if now - job.suspect_since > self.alone_wait and self._hosts(job, owner, running, now):
                    return None, False, True
            else:
                return job, expired, False
        return None, expired, False

    def _hosts(self, job: ModelJob, owner: str, running: int, now: int) -> bool:
        if job.host not in {"", owner} and now - job.hosted <= self.alone_wait and job.busy <= running:
            return False
        job.host, job.hosted, job.busy = owner, now, running
        return True

    def _lease(self, job: ModelJob, owner: str, now: int) -> None:
        job.state, job.owner = "r", owner
        job.attempt += 1
        self.virtual[job.priority] = max(self.virtual.get(job.priority, 0.0), job.tag)

    def end(self, job: ModelJob, state: str) -> None:
        job.state = state

    def holds(self, owner: str, job_id: str, attempt: int) -> ModelJob | None:
        job = self.jobs.get(job_id)
        return job if job and job.state == "r" and job.owner == owner and job.attempt == attempt else None

    def retry(self, job: ModelJob, delay: int, now: int) -> str:
        if job.cancelled and job.cancelled != "deadline":
            self.end(job, "cancelled")
            return "CANCELLED"
        tries = job.attempt - job.crashes - job.releases
        due = now + min(self.retry_max, delay * 2 ** (tries - 1))
        if tries >= self.max_attempts or due >= job.deadline:
            self.end(job, "failed")
            return "DEAD"
        job.state, job.due, job.owner = "s", due, ""
        return "RETRY"

    def release(self, job: ModelJob, now: int) -> None:
        if not self._ended_instead(job, now):
            job.releases += 1
            job.state, job.owner = "q", ""

    def lose(self, job: ModelJob, now: int) -> None:
        job.crashes += 1
        job.suspect_since, job.lost = now, job.attempt
        if not self._ended_instead(job, now):
            if job.crashes > self.max_crashes:
                self.end(job, "failed")
            else:
                job.state, job.owner = "q", ""

    def forgive(self, job: ModelJob, attempt: int) -> None:
        """The worker that lost this attempt turns out to live."""
        if job.lost == attempt and job.crashes and job.state in LIVE:
            job.crashes -= 1
            job.releases += 1
            job.lost = 0

    def _ended_instead(self, job: ModelJob, now: int) -> bool:
        if job.cancelled == "deadline" or job.deadline <= now:
            self.end(job, "failed")
        elif job.cancelled:
            self.end(job, "cancelled")
        return job.state != "r"

    def cancel(self, job_id: str) -> str:
        job = self.jobs.get(job_id)
        if job is None or job.state not in LIVE:
            return "NONE"
        if job.state == "r":
            job.cancelled = job.cancelled or "asked"
            return "ASKED"
        self.end(job, "cancelled")
        return "ENDED"

    def sweep(self, now: int) -> None:
        self.promote(now)
        for job in self.of("q", "s", "r"):
            if job.deadline <= now:
                if job.state == "r":
                    job.cancelled = job.cancelled or "deadline"
                else:
                    self.end(job, "failed")
