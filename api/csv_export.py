"""Whole lists as CSV files."""

from collections.abc import AsyncIterator, Iterable

from starlette.responses import StreamingResponse

from dialer.core.csv_writing import Row, csv_text


def csv_download(name: str, head: Row | None, pages: AsyncIterator[Iterable[Row]]) -> StreamingResponse:
    """A file that grows page by page while it is sent: no list is ever whole in memory. `head` None: without a first row."""

    async def lines() -> AsyncIterator[str]:
        if head is not None:
            yield csv_text([head])
        async for page in pages:
            yield csv_text(page)

    return StreamingResponse(
        lines(),
        media_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"},
    )
