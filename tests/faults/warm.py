"""Everything that a worker process would import, loaded once in the process that all of them are forked from."""

from __future__ import annotations

import sqlalchemy.dialects.sqlite.pysqlite  # noqa: F401 - loaded for those who are forked

import replay.client.embedded
import replay.store.sql_find
import replay.store.sqlite
import replay.store.sqlite_lending  # noqa: F401 - loaded for those who are forked
import tests.faults.load  # noqa: F401 - loaded for those who are forked
from replay.hooks import plugins

plugins()
