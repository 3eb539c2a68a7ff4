"""Log lines that data cannot forge: one line per record, control characters escaped."""

import logging
import time


class OneLineFormatter(logging.Formatter):
    """`time level logger message`; a traceback follows on the same line, its newlines escaped."""

    converter = staticmethod(time.gmtime)

    def __init__(self) -> None:
        super().__init__("%(asctime)s.%(msecs)03dZ %(levelname)s %(name)s %(message)s", "%Y-%m-%dT%H:%M:%S")

    def format(self, record: logging.LogRecord) -> str:
        return super().format(record).translate({10: "\\n", 13: "\\r", 0: "\\0"})


class WithoutTrace(logging.Filter):
    """Keeps the line of what a stranger's request causes, without the traceback."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.exc_info = record.exc_text = None
        return True
