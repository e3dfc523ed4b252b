"""`geo-train dataset import`, `check` and `split`."""

from __future__ import annotations
