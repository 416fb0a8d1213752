"""Log lines and prints."""

# ruff: noqa
import logging

from durable import activity, workflow


log = logging.getLogger(__name__)


@workflow.defn
async def tell(what: str) -> None:
    workflow.logger.info("told %s", what)
    log.warning("told %s", what)
    print(what)
