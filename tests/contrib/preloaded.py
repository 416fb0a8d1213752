"""As gunicorn does it with --preload: the app is imported once, and served by processes that are forked afterwards.

``python -m tests.contrib.preloaded FD``: the listening socket. SIGTERM ends the children, and then the parent.
"""

from __future__ import annotations

import os
import signal
import socket
import sys

import uvicorn

from tests.contrib.served import app


def main() -> None:
    listening = socket.socket(fileno=int(sys.argv[1]))
    children: list[int] = []
    for _ in range(2):
        if (child := os.fork()) == 0:
            uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[listening])
            return
        children.append(child)
    signal.signal(signal.SIGTERM, lambda *_: [os.kill(child, signal.SIGTERM) for child in children])
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    sys.exit(0 if codes == [-signal.SIGTERM] * 2 else f"children ended with {codes}")


if __name__ == "__main__":
    main()
