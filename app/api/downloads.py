"""The app's download counter, as routes are handed it."""

from typing import Annotated

from fastapi import Depends, Request

from app.restore.downloads import DownloadCounter


async def get_downloads(request: Request) -> DownloadCounter:
    """The app's counter."""
    return request.app.state.downloads


DownloadsDep = Annotated[DownloadCounter, Depends(get_downloads)]
