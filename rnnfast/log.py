"""The logger of the package, ``logging.getLogger("rnnfast")``: silent until a program gives it or the root a handler.

Training tells of its start, its epochs and its end at INFO, files of what was read and written at DEBUG::

    logging.basicConfig(level=logging.INFO)
"""

from __future__ import annotations

import logging

logger = logging.getLogger("rnnfast")
logger.addHandler(logging.NullHandler())
