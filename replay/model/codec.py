"""The one codec: values to bytes and back, by annotation; see ``codec_payload`` for its rules.

The rooms behind this door: ``codec_json`` (canonical JSON), ``codec_types`` (annotations), ``codec_payload`` (one value),
``codec_arguments`` (a function's arguments), ``codec_registry`` (what users teach it), and, loaded when a value needs it,
``codec_converter`` with its helpers (what annotations mean, by way of cattrs).
"""

from __future__ import annotations

from replay.model.codec_arguments import ArgumentsCodec
from replay.model.codec_json import MAX_DEPTH, from_json, to_json
from replay.model.codec_payload import PayloadCodec, payload_codec, spell
from replay.model.codec_registry import register_type, upcaster
from replay.model.codec_types import hints_of, type_name

__all__ = [
    "MAX_DEPTH",
    "ArgumentsCodec",
    "PayloadCodec",
    "from_json",
    "hints_of",
    "payload_codec",
    "register_type",
    "spell",
    "to_json",
    "type_name",
    "upcaster",
]
