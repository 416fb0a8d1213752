"""Which database an address means, in programs that may have been written for a Temporal server."""

from __future__ import annotations

import logging
import os
import re

logger = logging.getLogger("durable.client")

DEFAULT_ADDRESS = "sqlite:///durable.db"

_HOST_AND_PORT = re.compile(r"(?:https?://)?(?:[\w.-]+|\[[0-9a-fA-F:]+\]):\d+")


def database_url(target_host: str | None) -> str:
    """The URL of the database; that of the default one for None, "" and a server's ``host:port``.

    The default database is the environment's ``DURABLE_ADDRESS``, else ``sqlite:///durable.db``.
    """
    default = os.environ.get("DURABLE_ADDRESS") or DEFAULT_ADDRESS
    if not target_host:
        return default
    if _HOST_AND_PORT.fullmatch(target_host):
        logger.info(
            "%r is the address of a server, and durable needs none: this program uses the default database "
            "(DURABLE_ADDRESS, else %s)",
            target_host,
            DEFAULT_ADDRESS,
        )
        return default
    return target_host
