"""Daemon: what forks Spark's Python workers; it loads the libraries once, before it forks.

Spark starts it as ``python -m`` in every executor; see ``spark.python.daemon.module``.
"""

from __future__ import annotations

import cv2
from pyspark.daemon import manager

from collectors.spark import video  # noqa: F401  the workers find it loaded

if __name__ == "__main__":
    cv2.setNumThreads(1)
    manager()
