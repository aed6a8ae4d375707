from replay.service.generated import types_pb2 as _types_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StartRunRequest(_message.Message):
    __slots__ = ("key", "workflow", "version", "input", "queue", "priority", "delay", "deadline", "tags", "patches", "knows_patches", "fairness_key")
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    KEY_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    INPUT_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    DELAY_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    PATCHES_FIELD_NUMBER: _ClassVar[int]
    KNOWS_PATCHES_FIELD_NUMBER: _ClassVar[int]
    FAIRNESS_KEY_FIELD_NUMBER: _ClassVar[int]
    key: _types_pb2.RunKey
    workflow: str
    version: str
    input: bytes
    queue: str
    priority: int
    delay: int
    deadline: int
    tags: _containers.ScalarMap[str, str]
    patches: _containers.RepeatedScalarFieldContainer[str]
    knows_patches: bool
    fairness_key: str
    def __init__(self, key: _Optional[_Union[_types_pb2.RunKey, _Mapping]] = ..., workflow: _Optional[str] = ..., version: _Optional[str] = ..., input: _Optional[bytes] = ..., queue: _Optional[str] = ..., priority: _Optional[int] = ..., delay: _Optional[int] = ..., deadline: _Optional[int] = ..., tags: _Optional[_Mapping[str, str]] = ..., patches: _Optional[_Iterable[str]] = ..., knows_patches: _Optional[bool] = ..., fairness_key: _Optional[str] = ...) -> None: ...

class StartRunResponse(_message.Message):
    __slots__ = ("run", "new")
    RUN_FIELD_NUMBER: _ClassVar[int]
    NEW_FIELD_NUMBER: _ClassVar[int]
    run: _types_pb2.Run
    new: bool
    def __init__(self, run: _Optional[_Union[_types_pb2.Run, _Mapping]] = ..., new: _Optional[bool] = ...) -> None: ...

class DebounceRunRequest(_message.Message):
    __slots__ = ("start", "key", "delay", "max_wait")
    START_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    DELAY_FIELD_NUMBER: _ClassVar[int]
    MAX_WAIT_FIELD_NUMBER: _ClassVar[int]
    start: StartRunRequest
    key: str
    delay: float
    max_wait: float
    def __init__(self, start: _Optional[_Union[StartRunRequest, _Mapping]] = ..., key: _Optional[str] = ..., delay: _Optional[float] = ..., max_wait: _Optional[float] = ...) -> None: ...

class DebounceRunResponse(_message.Message):
    __slots__ = ("run_id",)
    RUN_ID_FIELD_NUMBER: _ClassVar[int]
    run_id: str
    def __init__(self, run_id: _Optional[str] = ...) -> None: ...

class SignalWithStartRequest(_message.Message):
    __slots__ = ("start", "signal")
    START_FIELD_NUMBER: _ClassVar[int]
    SIGNAL_FIELD_NUMBER: _ClassVar[int]
    start: StartRunRequest
    signal: SignalRunRequest
    def __init__(self, start: _Optional[_Union[StartRunRequest, _Mapping]] = ..., signal: _Optional[_Union[SignalRunRequest, _Mapping]] = ...) -> None: ...

class SignalRunRequest(_message.Message):
    __slots__ = ("key", "name", "payload", "message_id")
    KEY_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    key: _types_pb2.RunKey
    name: str
    payload: bytes
    message_id: str
    def __init__(self, key: _Optional[_Union[_types_pb2.RunKey, _Mapping]] = ..., name: _Optional[str] = ..., payload: _Optional[bytes] = ..., message_id: _Optional[str] = ...) -> None: ...

class SignalRunResponse(_message.Message):
    __slots__ = ("message_id",)
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    message_id: str
    def __init__(self, message_id: _Optional[str] = ...) -> None: ...

class UpdateRunRequest(_message.Message):
    __slots__ = ("key", "name", "payload", "message_id")
    KEY_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    key: _types_pb2.RunKey
    name: str
    payload: bytes
    message_id: str
    def __init__(self, key: _Optional[_Union[_types_pb2.RunKey, _Mapping]] = ..., name: _Optional[str] = ..., payload: _Optional[bytes] = ..., message_id: _Optional[str] = ...) -> None: ...

class UpdateRunResponse(_message.Message):
    __slots__ = ("reply",)
    REPLY_FIELD_NUMBER: _ClassVar[int]
    reply: bytes
    def __init__(self, reply: _Optional[bytes] = ...) -> None: ...

class QueryRunRequest(_message.Message):
    __slots__ = ("key", "name", "arguments", "message_id")
    KEY_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    ARGUMENTS_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_ID_FIELD_NUMBER: _ClassVar[int]
    key: _types_pb2.RunKey
    name: str
    arguments: bytes
    message_id: str
    def __init__(self, key: _Optional[_Union[_types_pb2.RunKey, _Mapping]] = ..., name: _Optional[str] = ..., arguments: _Optional[bytes] = ..., message_id: _Optional[str] = ...) -> None: ...

class QueryRunResponse(_message.Message):
    __slots__ = ("reply",)
    REPLY_FIELD_NUMBER: _ClassVar[int]
    reply: bytes
    def __init__(self, reply: _Optional[bytes] = ...) -> None: ...

class ControlRunRequest(_message.Message):
    __slots__ = ("key", "verb", "reason")
    KEY_FIELD_NUMBER: _ClassVar[int]
    VERB_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    key: _types_pb2.RunKey
    verb: str
    reason: str
    def __init__(self, key: _Optional[_Union[_types_pb2.RunKey, _Mapping]] = ..., verb: _Optional[str] = ..., reason: _Optional[str] = ...) -> None: ...

class ControlRunResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetRunRequest(_message.Message):
    __slots__ = ("key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: _types_pb2.RunKey
    def __init__(self, key: _Optional[_Union[_types_pb2.RunKey, _Mapping]] = ...) -> None: ...

class GetRunResponse(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: _types_pb2.Run
    def __init__(self, run: _Optional[_Union[_types_pb2.Run, _Mapping]] = ...) -> None: ...

class ListRunsRequest(_message.Message):
    __slots__ = ("filter", "limit", "cursor")
    FILTER_FIELD_NUMBER: _ClassVar[int]
    LIMIT_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    filter: _types_pb2.Filter
    limit: int
    cursor: str
    def __init__(self, filter: _Optional[_Union[_types_pb2.Filter, _Mapping]] = ..., limit: _Optional[int] = ..., cursor: _Optional[str] = ...) -> None: ...

class ListRunsResponse(_message.Message):
    __slots__ = ("runs", "cursor")
    RUNS_FIELD_NUMBER: _ClassVar[int]
    CURSOR_FIELD_NUMBER: _ClassVar[int]
    runs: _containers.RepeatedCompositeFieldContainer[_types_pb2.Run]
    cursor: str
    def __init__(self, runs: _Optional[_Iterable[_Union[_types_pb2.Run, _Mapping]]] = ..., cursor: _Optional[str] = ...) -> None: ...

class ReadJournalRequest(_message.Message):
    __slots__ = ("key", "after", "follow")
    KEY_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    key: _types_pb2.RunKey
    after: int
    follow: bool
    def __init__(self, key: _Optional[_Union[_types_pb2.RunKey, _Mapping]] = ..., after: _Optional[int] = ..., follow: _Optional[bool] = ...) -> None: ...

class ReadJournalResponse(_message.Message):
    __slots__ = ("events",)
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    events: _containers.RepeatedCompositeFieldContainer[_types_pb2.Event]
    def __init__(self, events: _Optional[_Iterable[_Union[_types_pb2.Event, _Mapping]]] = ...) -> None: ...

class WatchRunRequest(_message.Message):
    __slots__ = ("key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: _types_pb2.RunKey
    def __init__(self, key: _Optional[_Union[_types_pb2.RunKey, _Mapping]] = ...) -> None: ...

class WatchRunResponse(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: _types_pb2.Run
    def __init__(self, run: _Optional[_Union[_types_pb2.Run, _Mapping]] = ...) -> None: ...

class ForkRunRequest(_message.Message):
    __slots__ = ("source", "target_id", "at", "edits")
    class EditsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: int
        value: bytes
        def __init__(self, key: _Optional[int] = ..., value: _Optional[bytes] = ...) -> None: ...
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    TARGET_ID_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    EDITS_FIELD_NUMBER: _ClassVar[int]
    source: _types_pb2.RunKey
    target_id: str
    at: str
    edits: _containers.ScalarMap[int, bytes]
    def __init__(self, source: _Optional[_Union[_types_pb2.RunKey, _Mapping]] = ..., target_id: _Optional[str] = ..., at: _Optional[str] = ..., edits: _Optional[_Mapping[int, bytes]] = ...) -> None: ...

class ForkRunResponse(_message.Message):
    __slots__ = ("run",)
    RUN_FIELD_NUMBER: _ClassVar[int]
    run: _types_pb2.Run
    def __init__(self, run: _Optional[_Union[_types_pb2.Run, _Mapping]] = ...) -> None: ...

class ListSavepointsRequest(_message.Message):
    __slots__ = ("key",)
    KEY_FIELD_NUMBER: _ClassVar[int]
    key: _types_pb2.RunKey
    def __init__(self, key: _Optional[_Union[_types_pb2.RunKey, _Mapping]] = ...) -> None: ...

class Savepoint(_message.Message):
    __slots__ = ("name", "seq", "at", "notes", "has_state")
    NAME_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    NOTES_FIELD_NUMBER: _ClassVar[int]
    HAS_STATE_FIELD_NUMBER: _ClassVar[int]
    name: str
    seq: int
    at: int
    notes: bytes
    has_state: bool
    def __init__(self, name: _Optional[str] = ..., seq: _Optional[int] = ..., at: _Optional[int] = ..., notes: _Optional[bytes] = ..., has_state: _Optional[bool] = ...) -> None: ...

class ListSavepointsResponse(_message.Message):
    __slots__ = ("savepoints",)
    SAVEPOINTS_FIELD_NUMBER: _ClassVar[int]
    savepoints: _containers.RepeatedCompositeFieldContainer[Savepoint]
    def __init__(self, savepoints: _Optional[_Iterable[_Union[Savepoint, _Mapping]]] = ...) -> None: ...

class ReadTopicRequest(_message.Message):
    __slots__ = ("namespace", "topic", "after", "follow")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    AFTER_FIELD_NUMBER: _ClassVar[int]
    FOLLOW_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    topic: str
    after: int
    follow: bool
    def __init__(self, namespace: _Optional[str] = ..., topic: _Optional[str] = ..., after: _Optional[int] = ..., follow: _Optional[bool] = ...) -> None: ...

class ReadTopicResponse(_message.Message):
    __slots__ = ("entries",)
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    entries: _containers.RepeatedCompositeFieldContainer[_types_pb2.Entry]
    def __init__(self, entries: _Optional[_Iterable[_Union[_types_pb2.Entry, _Mapping]]] = ...) -> None: ...

class PublishTopicRequest(_message.Message):
    __slots__ = ("namespace", "entries")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    entries: _containers.RepeatedCompositeFieldContainer[_types_pb2.TopicEntry]
    def __init__(self, namespace: _Optional[str] = ..., entries: _Optional[_Iterable[_Union[_types_pb2.TopicEntry, _Mapping]]] = ...) -> None: ...

class PublishTopicResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...
