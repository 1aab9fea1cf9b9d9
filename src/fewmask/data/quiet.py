"""Libraries warn in their own words, some of which quote a file's header; here they are silenced."""

import logging
import warnings
from collections.abc import Generator
from contextlib import contextmanager

LIBRARIES = ("pydicom", "tifffile", "nibabel.global", "PIL")


@contextmanager
def silenced() -> Generator[None]:
    """Keep the readers' warnings and log lines off standard error: they may hold a patient's name."""
    loggers = [logging.getLogger(name) for name in LIBRARIES]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL + 1)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
