"""`velesio keys`, `tenants`, `usage` and `audit`: who may use the installation, and what was used and changed."""

import argparse
import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Any, get_args

from velesio.cli.command import Words, command, noun
from velesio.cli.voice import aloud
from velesio.config import Config, Urgency

if TYPE_CHECKING:
    from velesio.cli.registrar import Registrar


def add(words: Words) -> None:
    """Adds the commands."""
    _keys(noun(words, "keys", "the API keys that are made while servers run"))
    _tenants(noun(words, "tenants", "the tenants: their shares, caps, budgets and models"))
    verb = command(words, "usage", _usage, "tell what was used, by day, key, tenant and model")
    verb.add_argument("--from", dest="first", default="", metavar="DAY", help="the first day, like 2027-01-01")
    verb.add_argument("--to", dest="last", default="", metavar="DAY", help="the last day (default: today)")
    verb.add_argument("--by", choices=("day", "hour"), default="day")
    for name in ("key", "tenant", "model"):
        verb.add_argument(f"--{name}", help=f"of one {name} alone")
    form = verb.add_mutually_exclusive_group()
    form.add_argument("--json", dest="form", action="store_const", const="json", default="table")
    form.add_argument("--csv", dest="form", action="store_const", const="csv")
    verb = command(words, "audit", _audit, "tell what was changed of keys, tenants, models, workers and the queue")
    verb.add_argument("--limit", type=int, default=50, metavar="N", help="the last so many (default: 50)")
    verb.add_argument("--json", action="store_true", help="as one JSON document")


def _keys(verbs: Words) -> None:
    verb = command(verbs, "create", _keys_create, "make a key and show it, once")
    verb.add_argument("name", help="what logs and lists call it")
    _describing_a_key(verb)
    verb = command(verbs, "list", _keys_list, "list them, revoked ones too")
    verb.add_argument("--json", action="store_true", help="as one JSON document")
    for name, run, text in (
        ("show", _keys_show, "tell what is known of a key; never its secret"),
        ("change", _keys_change, "change a key; every gateway knows within a second"),
        ("rotate", _keys_rotate, "give a key a new secret and show it, once; the last one stays good for a while"),
    ):
        verb = command(verbs, name, run, text)
        verb.add_argument("key", help="its id or its name")
        if name == "change":
            verb.add_argument("--name", help="what logs and lists call it")
            _describing_a_key(verb)
        else:
            verb.add_argument("--json", action="store_true", help="as a JSON document")
        if name == "rotate":
            verb.add_argument("--grace", metavar="TIME", help="how long, like 90, 15m, 24h (default: access.grace)")
    verb = command(verbs, "revoke", _keys_revoke, "have every gateway refuse keys within a second")
    verb.add_argument("key", nargs="+", help="ids or names")
    verb.add_argument(
        "--streams", choices=("finish", "end"), default="", help="what becomes of their answers under way"
    )


def _describing_a_key(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--tenant", help="whose jobs they are (default: default)")
    verb.add_argument("--scopes", metavar="SCOPE,…", help="what it is for: text, images, admin (default: text,images)")
    for name, text in (("priority", "of its requests"), ("priority-max", "that they may ask for at most")):
        verb.add_argument(f"--{name}", choices=get_args(Urgency), help=f"the priority {text} (default: normal)")
    verb.add_argument("--expires", metavar="WHEN", help="after a time like 30d, at a date like 2027-01-31, or never")
    _limited(verb)


def _limited(verb: argparse.ArgumentParser) -> None:
    verb.add_argument("--model", action="append", metavar="PATTERN", help="models that may be used; may be repeated")
    verb.add_argument(
        "--limit", action="append", metavar="NAME=NUMBER", help="such as requests=600; 0: none; may be repeated"
    )
    verb.add_argument("--json", action="store_true", help="as a JSON document")


def _tenants(verbs: Words) -> None:
    verb = command(verbs, "list", _tenants_list, "list those that somebody has described")
    verb.add_argument("--json", action="store_true", help="as one JSON document")
    verb = command(verbs, "set", _tenants_set, "describe a tenant; every gateway knows within a second")
    verb.add_argument("tenant")
    verb.add_argument("--weight", type=float, help="its share of each queue, against others' (1)")
    verb.add_argument("--waiting", type=int, metavar="JOBS", help="jobs that it may have waiting")
    _limited(verb)
    verb = command(verbs, "remove", _tenants_remove, "have a tenant be as the configuration says")
    verb.add_argument("tenant")


def _key_fields(options: argparse.Namespace) -> dict[str, Any]:
    """What was said of a key, as fields of its record."""
    from velesio.cli import registrar  # noqa: PLC0415

    fields: dict[str, Any] = {}
    if options.tenant:
        fields["tenant"] = options.tenant
    if options.scopes is not None:
        fields["scopes"] = registrar.scopes_of(options.scopes)
    fields |= {name: value for name in ("priority", "priority_max") if (value := getattr(options, name))}
    if options.expires:
        fields["expires"] = registrar.expiry_of(options.expires)
    return fields | _limit_fields(options)


def _limit_fields(options: argparse.Namespace) -> dict[str, Any]:
    from velesio.cli import registrar  # noqa: PLC0415

    fields: dict[str, Any] = {}
    if options.model:
        fields["models"] = tuple(options.model)
    if options.limit:
        fields["limits"] = registrar.limits_of(options.limit)
    return fields


def _keys_create(settings: Config, options: argparse.Namespace) -> int:
    fields = _key_fields(options)
    return _register(settings, lambda registrar: registrar.create_key(options.name, fields, json=options.json))


def _keys_list(settings: Config, options: argparse.Namespace) -> int:
    return _register(settings, lambda registrar: registrar.list_keys(json=options.json))


def _keys_show(settings: Config, options: argparse.Namespace) -> int:
    return _register(settings, lambda registrar: registrar.show_key(options.key, json=options.json))


def _keys_change(settings: Config, options: argparse.Namespace) -> int:
    fields = _key_fields(options) | ({"name": options.name} if options.name else {})
    return _register(settings, lambda registrar: registrar.change_key(options.key, fields, json=options.json))


def _keys_rotate(settings: Config, options: argparse.Namespace) -> int:
    from velesio.cli.registrar import seconds_of  # noqa: PLC0415

    grace = None if options.grace is None else seconds_of(options.grace)
    return _register(settings, lambda registrar: registrar.rotate_key(options.key, grace, json=options.json))


def _keys_revoke(settings: Config, options: argparse.Namespace) -> int:
    return _register(settings, lambda registrar: registrar.revoke_keys(options.key, options.streams))


def _tenants_list(settings: Config, options: argparse.Namespace) -> int:
    return _register(settings, lambda registrar: registrar.list_tenants(json=options.json))


def _tenants_set(settings: Config, options: argparse.Namespace) -> int:
    fields = _limit_fields(options)
    fields |= {name: getattr(options, name) for name in ("weight", "waiting") if getattr(options, name) is not None}
    return _register(settings, lambda registrar: registrar.set_tenant(options.tenant, fields, json=options.json))


def _tenants_remove(settings: Config, options: argparse.Namespace) -> int:
    return _register(settings, lambda registrar: registrar.remove_tenant(options.tenant))


def _usage(settings: Config, options: argparse.Namespace) -> int:
    wanted = {name: getattr(options, name) for name in ("key", "tenant", "model") if getattr(options, name)}
    return _register(
        settings,
        lambda registrar: registrar.usage(options.by, options.first, options.last, wanted, form=options.form),
    )


def _audit(settings: Config, options: argparse.Namespace) -> int:
    return _register(settings, lambda registrar: registrar.audit(max(1, options.limit), json=options.json))


def _register(settings: Config, work: "Callable[[Registrar], Awaitable[bool]]") -> int:
    """Has something done at the broker."""
    from velesio import logs  # noqa: PLC0415 - reading the arguments needs no broker
    from velesio.cli.desk import at_broker  # noqa: PLC0415
    from velesio.cli.registrar import Registrar  # noqa: PLC0415

    logs.configure(settings.log)
    done = asyncio.run(at_broker(settings, lambda broker: work(Registrar(broker, settings, aloud))))
    return 0 if done else 1
