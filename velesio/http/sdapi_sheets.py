"""Sheets: pictures of one request as a table, put together by a worker."""

from collections.abc import Sequence

from aiohttp import web

from velesio.errors import VelesioError
from velesio.http.dispatch import ask
from velesio.http.sdapi_answers import Drawn, Sheets
from velesio.http.sdapi_plots import Table
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
        beside = Sheet(pictures=tuple(parts), columns=table.sheets, margin=table.margin, over=table.above)
        whole = await _sheet(request, model, beside)
    except VelesioError as error:
        return Sheets(note=f"there is no sheet of all pictures: {error.message}")
    return Sheets((whole, *(parts if table.parts else ())))


def _of(table: Table, pictures: Sequence[bytes]) -> Sheet:
    return Sheet(
        pictures=tuple(pictures), columns=table.columns, margin=table.margin, over=table.over, beside=table.beside
    )


def _padded(each: Drawn) -> list[bytes]:
    missing = each.params.pictures - len(each.pictures)
    return [*each.pictures, *[b""] * missing]


async def _sheet(request: web.Request, model: str, sheet: Sheet) -> bytes:
    result = await ask(request, model, sheet, ImageResult)
    return result.pictures[0]
