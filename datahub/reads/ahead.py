"""Pages that are read while the ones before are sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import TypeVar

Page = TypeVar("Page")


async def ahead(pages: AsyncGenerator[Page, None]) -> AsyncGenerator[Page, None]:
    """Yield what a generator yields; the next page is made while the one before is used, and no more than that one.

    The generator is closed with this one, whoever ends first.
    """
    async with aclosing(pages):
        following = asyncio.ensure_future(_next(pages))
        try:
            while (found := await following) is not None:
                following = asyncio.ensure_future(_next(pages))
                yield found[0]
        finally:
            following.cancel()
            await asyncio.wait([following])
            if not following.cancelled():
                following.exception()  # was raised above, or nobody wants to know any more


async def _next(pages: AsyncGenerator[Page, None]) -> tuple[Page] | None:
    async for page in pages:
        return (page,)
    return None
