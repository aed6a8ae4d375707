"""What pytest loads where replay is installed."""

from __future__ import annotations

import pytest

# A subclass of the suite shall show both sides of a failed comparison, as tests of one's own do.
pytest.register_assert_rewrite("replay.testing.store_contract", "replay.testing.store_suite")
