"""The store contract and the client's calls on the wire: gRPC server, ``grpc://`` store, and what stands between."""

from __future__ import annotations

import re
from typing import Final

TRIED: Final = re.compile(r"1\.8[0-5]\.")
"""Releases of gRPC whose server was tried with what is not on its face: a switch of its own, and turns of a stream (``line``)."""
