"""Errors on the wire: a standard gRPC status, and replay's own error as a typed detail beside it.

Rule 1: the status says what any gRPC client understands; the trailer ``replay-error-bin`` (an ``ErrorDetail``) says the rest, so that
the error that is raised on the other side is the one that was raised here.
Rule 2: only classes of ``replay.errors`` are revived, from their names in a table; nothing is imported by a name from the wire.
"""

from __future__ import annotations

import json
from typing import Any, Final

import attrs
import grpc

from replay import errors
from replay.service.generated import types_pb2 as pb

TRAILER: Final = "replay-error-bin"
MESSAGE: Final = 1_000
"""Bytes of a status message at most; on the wire a byte may become three."""
DETAIL: Final = 3_000
"""Bytes of a detail at most: all trailers together must stay below 8 KB, which clients of every language take by default."""
_FAMILIES: Final[tuple[tuple[type[Exception], grpc.StatusCode], ...]] = (
    (errors.UnknownRun, grpc.StatusCode.NOT_FOUND),
    (errors.UnknownName, grpc.StatusCode.NOT_FOUND),
    (errors.RunExists, grpc.StatusCode.ALREADY_EXISTS),
    (errors.RunClosed, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.RunFailed, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.UpdateRefused, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.WaitTimedOut, grpc.StatusCode.DEADLINE_EXCEEDED),
    (errors.JournalDamaged, grpc.StatusCode.DATA_LOSS),
    (errors.StoreRefused, grpc.StatusCode.PERMISSION_DENIED),
    (errors.StoreError, grpc.StatusCode.UNAVAILABLE),
    (errors.PayloadTooLarge, grpc.StatusCode.RESOURCE_EXHAUSTED),
    (errors.RequestError, grpc.StatusCode.INVALID_ARGUMENT),
    (errors.WorkflowError, grpc.StatusCode.INVALID_ARGUMENT),
    (ValueError, grpc.StatusCode.INVALID_ARGUMENT),
)
_REVIVED: Final = {name: kind for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, errors.ReplayError)}


def status_of(error: Exception) -> grpc.StatusCode:
    """The status of an error; INTERNAL for what nobody expected."""
    return next((code for kind, code in _FAMILIES if isinstance(error, kind)), grpc.StatusCode.INTERNAL)


def words_of(error: Exception) -> str:
    """The sentence of an error, as short as a status may carry."""
    return _cut(str(error) or type(error).__name__, MESSAGE)


def detail_of(error: Exception) -> bytes:
    """An error as an ``ErrorDetail``; long facts are cut, for a trailer holds little."""
    facts = {name: getattr(error, name) for name in _fields(type(error))}
    longest = DETAIL
    while len(detail := _spell(error, facts)) > DETAIL:
        longest //= 2
        facts = {name: _short(fact, longest) for name, fact in facts.items()}
    return detail


def _fields(kind: Any) -> list[str]:
    """The facts that a class of errors holds."""
    return [field.name for field in attrs.fields(kind)] if attrs.has(kind) else []


def _spell(error: Exception, facts: dict[str, Any]) -> bytes:
    spelt = json.dumps(facts, default=str, ensure_ascii=False)
    return pb.ErrorDetail(error=type(error).__name__, facts=_clean(spelt)).SerializeToString()


def _short(fact: Any, longest: int) -> Any:
    if isinstance(fact, tuple | list):
        return [_short(item, longest // 4) for item in fact[: max(1, longest // 64)]]
    return _cut(fact, longest) if isinstance(fact, str) else fact


def _cut(text: str, size: int) -> str:
    """A text of so many bytes at most, without half characters."""
    spelt = _clean(text).encode()
    return _clean(text) if len(spelt) <= size else spelt[: max(0, size - 3)].decode(errors="ignore") + "…"


def _clean(text: str) -> str:
    """Without lone surrogates, which no wire carries."""
    return text.encode(errors="replace").decode()


def revive(error: grpc.RpcError, server: str) -> Exception:
    """The error that a call failed with, as itself where replay knows it.

    Else ``StoreUnavailable`` when it is unknown whether the call took effect or asking again may help, and ``StoreRefused`` when
    the server said no.
    """
    call: Any = error
    code, text = call.code(), call.details() or "no answer"
    for name, value in (call.trailing_metadata() or ()) if hasattr(call, "trailing_metadata") else ():
        if name == TRAILER:
            found = _revived(value, text)
            return found or errors.StoreRefused(server, f"it failed unexpectedly: {text}")
    if code in _REFUSALS:
        return errors.StoreRefused(server, f"{code.name}: {text}", _REFUSALS[code])
    return errors.StoreUnavailable(server, f"{code.name}: {text}", _advice(text, server))


def _revived(value: bytes, text: str) -> Exception | None:
    detail = pb.ErrorDetail.FromString(value)
    if detail.error == ValueError.__name__:
        return ValueError(text)
    kind: Any = _REVIVED.get(detail.error)
    if kind is None:
        return None
    known = _fields(kind)
    if not known:
        return errors.StoreRefused(detail.error, text)
    facts = {name: tuple(fact) if isinstance(fact, list) else fact for name, fact in json.loads(detail.facts).items()}
    try:
        made: Exception = kind(**{name: fact for name, fact in facts.items() if name in known})
    except TypeError:  # a newer server leaves a fact out, or an older one did not know it yet
        return errors.StoreRefused(detail.error, text)
    return made


def _advice(text: str, server: str) -> str:
    """What to do when a server does not answer; one that misses a certificate hangs up without a word."""
    mutual = ", and with mutual TLS add ?cert=FILE&key=FILE" if server.startswith("grpcs:") else ""
    otherwise = f"check that the server runs and can be reached{mutual}, then try again"
    lowered = text.lower()
    return next((advice for word, advice in _HINTS if word in lowered), otherwise)


_HINTS: Final = (
    ("certificate", "look at the certificates: grpcs://host:port?ca=FILE, and on the server --tls-cert"),
    ("handshake", "look at TLS: a server with TLS needs grpcs://, with mutual TLS also ?cert=FILE&key=FILE; certificates expire"),
    ("ssl", "look at TLS: a server with TLS needs grpcs://, one without needs grpc://"),
    ("wrong_version", "the server has no TLS: write grpc://"),
)
_REFUSALS: Final = {
    grpc.StatusCode.UNAUTHENTICATED: "pass a valid token: grpc://host:port?token=…, or REPLAY_TOKEN",
    grpc.StatusCode.PERMISSION_DENIED: "use a token that has the scope and the namespace",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "send less at once, or raise --max-message on the server and ?max_message= on the client",
    grpc.StatusCode.UNIMPLEMENTED: "the server speaks another protocol: check host and port, or upgrade it",
    grpc.StatusCode.INVALID_ARGUMENT: "client and server do not understand each other: upgrade the older of the two",
    grpc.StatusCode.OUT_OF_RANGE: "client and server do not understand each other: upgrade the older of the two",
}
