"""Key names: everything Velesio stores, under one hash tag, so that all of it lies in one cluster slot.

Scripts get only the root, `KEYS[1]`, and build the same names in `lua/common.lua`.
"""

PERMANENT = frozenset({"keys", "tenants", "pepper", "roster", "audit"})
"""Second parts of the names of keys without a time to live: who may use the installation, and what operators changed.
They are no matter of jobs, and kept for as long as there is an installation."""


class Keys:
    """The names of one installation's keys."""

    def __init__(self, prefix: str) -> None:
        self.root = f"{{{prefix}}}:"
        self.control = f"{self.root}ctl"
        """Channel: a worker joined, left or changed its models."""

    def job(self, job_id: str) -> str:
        """Hash: a job's state and payload."""
        return f"{self.root}j:{job_id}"

    def wake(self, capability: str, model: str) -> str:
        """List: tokens that wake an idle worker."""
        return f"{self.root}wake:{capability}:{model}"

    def ran(self, capability: str, model: str) -> str:
        """String: milliseconds that a job of the model takes, the last few counting most."""
        return f"{self.root}ran:{capability}:{model}"

    def replies(self, gateway: str) -> str:
        """Stream: what workers tell one gateway."""
        return f"{self.root}r:{gateway}"

    def output(self, job_id: str) -> str:
        """Stream: the output log of a job that no gateway watches."""
        return f"{self.root}o:{job_id}"

    def recordings(self, owner: str) -> str:
        """Sorted set: names of an owner's recordings; with more parts, the recordings."""
        return f"{self.root}s:{owner}"

    def blob(self, name: str) -> str:
        """String: a large input or result."""
        return f"{self.root}b:{name}"

    def gateway(self, gateway: str) -> str:
        """String: the gateway lives."""
        return f"{self.root}gw:{gateway}"

    def cancels(self, owner: str) -> str:
        """Channel: jobs that a worker shall abort, or whose reasoning it shall end."""
        return f"{self.root}c:{owner}"

    def worker(self, owner: str) -> str:
        """Hash: what a worker says of itself."""
        return f"{self.root}wk:{owner}"

    def quiet(self, owner: str) -> str:
        """String: the worker shall take nothing new (`quiet`), or leave (`drain`)."""
        return f"{self.root}quiet:{owner}"

    def wishes(self, owner: str) -> str:
        """Hash: model → what the worker shall do about it."""
        return f"{self.root}wish:{owner}"

    def sent(self, job_id: str, attempt: int) -> str:
        """List: the answer to a recall, one element."""
        return f"{self.root}sent:{job_id}:{attempt}"

    def adapters(self, model: str) -> str:
        """String: scales of the model's LoRA adapters, where clients have set them."""
        return f"{self.root}lora:{model}"

    def session(self, name: str) -> str:
        """String: the sealed key of a browser's session, by the hash of its id."""
        return f"{self.root}in:{name}"

    def choices(self, owner: str) -> str:
        """Hash: options that a client has set for its later requests."""
        return f"{self.root}opt:{owner}"

    def hook(self, job_id: str) -> str:
        """Hash: who is to be told of the job's end."""
        return f"{self.root}hook:{job_id}"

    def mine(self, tenant: str) -> str:
        """Sorted set: a tenant's background jobs, by the time at which they came."""
        return f"{self.root}mine:{tenant}"

    def conversation(self, owner: str, *name: str) -> str:
        """Sorted set: names of the sessions of one key; with a name, a list: its turns."""
        return ":".join((f"{self.root}ss:{owner}", *name))
