"""Sheets: pictures of one request as a table, put together by a worker. Their request was charged, they are not."""

from collections.abc import Sequence
from typing import Any

from aiohttp import web

from velesio.errors import VelesioError
from velesio.http.access.limits import ADMISSION, Admission
from velesio.http.dispatch import answers_to, checked, jobs_of
from velesio.http.sdapi.answers import Drawn, Sheets
from velesio.http.sdapi.plots import Table
from velesio.jobs import ImageResult, Sheet


async def made(request: web.Request, model: str, table: Table, drawn: Sequence[Drawn]) -> Sheets:
    """The sheets of a table in the order in which they are answered. Pictures that were not made leave their places
    empty."""
    pictures = [file for each in drawn for file in _padded(each)]
    each = table.columns * table.rows
    try:
        parts = [
            await _sheet(request, model, _of(table, pictures[begin : begin + each]))
            for begin in range(0, each * table.sheets, each)
        ]
        if table.sheets == 1:
            return Sheets((parts[0],))
        beside = _looking(table, pictures=tuple(parts), columns=table.sheets, over=table.above)
        whole = await _sheet(request, model, beside)
    except VelesioError as error:
        return Sheets(note=f"there is no sheet of all pictures: {error.message}")
    return Sheets((whole, *(parts if table.parts else ())))


def _of(table: Table, pictures: Sequence[bytes]) -> Sheet:
    return _looking(table, pictures=tuple(pictures), columns=table.columns, over=table.over, beside=table.beside)


def _looking(table: Table, **fields: Any) -> Sheet:
    return Sheet(
        margin=table.margin, paper=table.paper, ink=table.ink, form=table.form, quality=table.quality, **fields
    )


def _padded(each: Drawn) -> list[bytes]:
    missing = each.params.pictures - len(each.pictures)
    return [*each.pictures, *[b""] * missing]


async def _sheet(request: web.Request, model: str, sheet: Sheet) -> bytes:
    (job,) = jobs_of(request, model, [sheet], stream=False)
    request[ADMISSION] = Admission.within(request, job)
    try:
        async with answers_to(request, [job]) as answers:
            return checked(await answers.only(), ImageResult).pictures[0]
    finally:
        del request[ADMISSION]
