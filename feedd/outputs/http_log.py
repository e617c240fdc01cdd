"""What the HTTP side logs: bugs with their traceback, and requests that are no HTTP in a line."""

from __future__ import annotations

import logging
from typing import Any

from aiohttp.http_exceptions import BadHttpMessage

from feedd.logs import fields

log = logging.getLogger(__name__)


class HttpLog(logging.LoggerAdapter[logging.Logger]):
    """A logger for aiohttp's server, which would log a traceback for whatever anybody sends."""

    def __init__(self) -> None:
        super().__init__(log)

    def exception(self, msg: Any, *args: object, exc_info: Any = True, **_: Any) -> None:
        """Log what went wrong with a request."""
        if isinstance(exc_info, BadHttpMessage):
            detail = exc_info.message.partition("\n")[0]
            log.info("a request can't be read", extra=fields(detail=detail, request=msg % args))
        else:
            log.error(msg, *args, exc_info=exc_info)
