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
_FAMILIES: Final[tuple[tuple[type[Exception], grpc.StatusCode], ...]] = (
    (errors.UnknownRun, grpc.StatusCode.NOT_FOUND),
    (errors.UnknownName, grpc.StatusCode.NOT_FOUND),
    (errors.RunExists, grpc.StatusCode.ALREADY_EXISTS),
    (errors.RunClosed, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.RunFailed, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.UpdateRefused, grpc.StatusCode.FAILED_PRECONDITION),
    (errors.WaitTimedOut, grpc.StatusCode.DEADLINE_EXCEEDED),
    (errors.JournalDamaged, grpc.StatusCode.DATA_LOSS),
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


def detail_of(error: Exception) -> bytes:
    """An error as an ``ErrorDetail``."""
    facts = attrs.asdict(error, recurse=False) if isinstance(error, errors.ReplayError) and attrs.has(type(error)) else {}  # type: ignore[arg-type]  # just checked
    return pb.ErrorDetail(error=type(error).__name__, facts=json.dumps(facts, default=str)).SerializeToString()


def revive(error: grpc.RpcError, server: str) -> Exception:
    """The error that a call failed with, as itself where replay knows it, else ``StoreUnavailable``."""
    call: Any = error
    for name, value in (call.trailing_metadata() or ()) if hasattr(call, "trailing_metadata") else ():
        if name == TRAILER:
            detail = pb.ErrorDetail.FromString(value)
            if detail.error == ValueError.__name__:
                return ValueError(call.details())
            kind = _REVIVED.get(detail.error)
            if kind is not None:
                facts = {key: tuple(fact) if isinstance(fact, list) else fact for key, fact in json.loads(detail.facts).items()}
                return kind(**facts)
    code, text = call.code(), call.details() or "no answer"
    return errors.StoreUnavailable(server, f"{code.name}: {text}", _ADVICE.get(code, "try again, or look at the server's log"))


_ADVICE: Final = {
    grpc.StatusCode.UNAUTHENTICATED: "pass a valid token: grpc://host:port?token=…, or REPLAY_TOKEN",
    grpc.StatusCode.PERMISSION_DENIED: "use a token that has the scope and the namespace",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "send less at once, or raise --max-message on the server and ?max_message= on the client",
    grpc.StatusCode.UNAVAILABLE: "check that the server runs and can be reached; TLS servers need grpcs://",
    grpc.StatusCode.UNIMPLEMENTED: "the server speaks another protocol: check host and port, or upgrade it",
}
