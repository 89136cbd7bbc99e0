"""Logs as one JSON object a line, on stdout."""

from __future__ import annotations

import json
import logging
import sys
import time
import warnings
from typing import Any

LOGGER = logging.getLogger("u2net.server")


def log_request(**facts: Any) -> None:
    """One line about a request that has ended."""
    LOGGER.info("request", extra={"facts": facts})


class JsonFormatter(logging.Formatter):
    """Time, level, logger and message; `facts` of a record beside them; an exception's traceback as text."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        when = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{when}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.process,
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)


def configure_logs(level: str) -> None:
    """Send everything that this process logs through the formatter."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(JsonFormatter())
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    warnings.filterwarnings("ignore", module="PIL")  # remarks on what clients send
    for name in ("uvicorn", "uvicorn.error", "asyncio", "python_multipart"):
        # Of the server's own words only warnings matter; requests are logged here.
        logging.getLogger(name).setLevel(max(logging.WARNING, logging.getLogger().level))
