"""Tenants: who shares the installation, and how much of it each may have."""

from collections.abc import Mapping
from typing import Annotated, Any

import msgspec

from velesio.config import Limits
from velesio.errors import NotFound
from velesio.queue.broker import Broker
from velesio.queue.entries import Table

TENANTS = "tenants"
"""The table's name at the broker."""


class Tenant(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A tenant; those that nobody described are as the configuration says."""

    name: str
    weight: Annotated[float, msgspec.Meta(gt=0, le=1000)] | None = None
    """Its share of each queue, against other tenants'; None: `queue.weights`."""
    waiting: Annotated[int, msgspec.Meta(ge=1)] | None = None
    """Jobs that it may have waiting; None: `queue.tenant_cap`."""
    models: tuple[str, ...] = ("*",)
    """Patterns of the models that its keys may use at most."""
    limits: Limits = Limits()
    """Of all its keys together."""

    def described(self) -> dict[str, Any]:
        """What is told of it."""
        limits = {name: value for name in Limits.__struct_fields__ if (value := getattr(self.limits, name)) is not None}
        return {
            "name": self.name,
            "weight": self.weight,
            "waiting": self.waiting,
            "models": list(self.models),
            "limits": limits,
        }


class Tenants:
    """The tenants that somebody has described. `actor` is who administers them."""

    def __init__(self, broker: Broker, actor: str) -> None:
        self._actor = actor
        self._table = Table(broker, TENANTS, Tenant)

    async def all(self) -> list[Tenant]:
        """By name."""
        return [tenant for _, tenant in sorted((await self._table.all()).items())]

    async def find(self, name: str) -> Tenant:
        """One of them.

        Raises:
            NotFound
        """
        tenant = await self._table.find(name)
        if tenant is None:
            raise NotFound(f"nobody has described the tenant {name!r}; it is as the configuration says")
        return tenant

    async def change(self, name: str, changes: Mapping[str, Any]) -> Tenant:
        """Describe a tenant, or give it other values of some fields."""
        altered = await self._table.alter(
            name,
            lambda old: msgspec.structs.replace(old or Tenant(name=name), **changes),
            actor=self._actor,
            action="tenant.change",
            told=Tenant.described,
        )
        assert altered is not None  # noqa: S101 - narrows for the type checker: the change makes one
        return altered

    async def remove(self, name: str) -> None:
        """Have it be as the configuration says.

        Raises:
            NotFound
        """

        def gone(old: Tenant | None) -> None:
            if old is None:
                raise NotFound(f"nobody has described the tenant {name!r}")

        await self._table.alter(name, gone, actor=self._actor, action="tenant.remove", told=Tenant.described)
