from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Committed(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    COMMITTED_UNSPECIFIED: _ClassVar[Committed]
    COMMITTED_APPLIED: _ClassVar[Committed]
    COMMITTED_FENCED: _ClassVar[Committed]
    COMMITTED_CONFLICT: _ClassVar[Committed]

class Posted(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    POSTED_UNSPECIFIED: _ClassVar[Posted]
    POSTED_DELIVERED: _ClassVar[Posted]
    POSTED_DUPLICATE: _ClassVar[Posted]
    POSTED_UNKNOWN: _ClassVar[Posted]
    POSTED_CLOSED: _ClassVar[Posted]
COMMITTED_UNSPECIFIED: Committed
COMMITTED_APPLIED: Committed
COMMITTED_FENCED: Committed
COMMITTED_CONFLICT: Committed
POSTED_UNSPECIFIED: Posted
POSTED_DELIVERED: Posted
POSTED_DUPLICATE: Posted
POSTED_UNKNOWN: Posted
POSTED_CLOSED: Posted

class RunKey(_message.Message):
    __slots__ = ("namespace", "id")
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    id: str
    def __init__(self, namespace: _Optional[str] = ..., id: _Optional[str] = ...) -> None: ...

class Event(_message.Message):
    __slots__ = ("seq", "kind", "command", "name", "at", "payload", "check", "attempt", "duration", "line", "worker")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    CHECK_FIELD_NUMBER: _ClassVar[int]
    ATTEMPT_FIELD_NUMBER: _ClassVar[int]
    DURATION_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    seq: int
    kind: str
    command: str
    name: str
    at: int
    payload: bytes
    check: int
    attempt: int
    duration: int
    line: str
    worker: str
    def __init__(self, seq: _Optional[int] = ..., kind: _Optional[str] = ..., command: _Optional[str] = ..., name: _Optional[str] = ..., at: _Optional[int] = ..., payload: _Optional[bytes] = ..., check: _Optional[int] = ..., attempt: _Optional[int] = ..., duration: _Optional[int] = ..., line: _Optional[str] = ..., worker: _Optional[str] = ...) -> None: ...

class Lease(_message.Message):
    __slots__ = ("key", "fence", "worker", "until")
    KEY_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    UNTIL_FIELD_NUMBER: _ClassVar[int]
    key: RunKey
    fence: int
    worker: str
    until: int
    def __init__(self, key: _Optional[_Union[RunKey, _Mapping]] = ..., fence: _Optional[int] = ..., worker: _Optional[str] = ..., until: _Optional[int] = ...) -> None: ...

class NewRun(_message.Message):
    __slots__ = ("key", "workflow", "version", "queue", "digest", "events", "priority", "ready_at", "parent", "parent_command", "tags", "state", "status", "base", "applied", "result", "source", "fairness_key")
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class StateEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    KEY_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    READY_AT_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PARENT_COMMAND_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    BASE_FIELD_NUMBER: _ClassVar[int]
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    FAIRNESS_KEY_FIELD_NUMBER: _ClassVar[int]
    key: RunKey
    workflow: str
    version: str
    queue: str
    digest: str
    events: _containers.RepeatedCompositeFieldContainer[Event]
    priority: int
    ready_at: int
    parent: str
    parent_command: str
    tags: _containers.ScalarMap[str, str]
    state: _containers.ScalarMap[str, bytes]
    status: str
    base: int
    applied: int
    result: bytes
    source: str
    fairness_key: str
    def __init__(self, key: _Optional[_Union[RunKey, _Mapping]] = ..., workflow: _Optional[str] = ..., version: _Optional[str] = ..., queue: _Optional[str] = ..., digest: _Optional[str] = ..., events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ..., priority: _Optional[int] = ..., ready_at: _Optional[int] = ..., parent: _Optional[str] = ..., parent_command: _Optional[str] = ..., tags: _Optional[_Mapping[str, str]] = ..., state: _Optional[_Mapping[str, bytes]] = ..., status: _Optional[str] = ..., base: _Optional[int] = ..., applied: _Optional[int] = ..., result: _Optional[bytes] = ..., source: _Optional[str] = ..., fairness_key: _Optional[str] = ...) -> None: ...

class Run(_message.Message):
    __slots__ = ("key", "workflow", "version", "queue", "digest", "priority", "parent", "parent_command", "tags", "state", "status", "seq", "base", "applied", "result", "source", "created_at", "updated_at", "ready_at", "wake_at", "fence", "worker", "recoveries", "note", "fairness_key")
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    class StateEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    KEY_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    QUEUE_FIELD_NUMBER: _ClassVar[int]
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    PRIORITY_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    PARENT_COMMAND_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    SEQ_FIELD_NUMBER: _ClassVar[int]
    BASE_FIELD_NUMBER: _ClassVar[int]
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    READY_AT_FIELD_NUMBER: _ClassVar[int]
    WAKE_AT_FIELD_NUMBER: _ClassVar[int]
    FENCE_FIELD_NUMBER: _ClassVar[int]
    WORKER_FIELD_NUMBER: _ClassVar[int]
    RECOVERIES_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    FAIRNESS_KEY_FIELD_NUMBER: _ClassVar[int]
    key: RunKey
    workflow: str
    version: str
    queue: str
    digest: str
    priority: int
    parent: str
    parent_command: str
    tags: _containers.ScalarMap[str, str]
    state: _containers.ScalarMap[str, bytes]
    status: str
    seq: int
    base: int
    applied: int
    result: bytes
    source: str
    created_at: int
    updated_at: int
    ready_at: int
    wake_at: int
    fence: int
    worker: str
    recoveries: int
    note: str
    fairness_key: str
    def __init__(self, key: _Optional[_Union[RunKey, _Mapping]] = ..., workflow: _Optional[str] = ..., version: _Optional[str] = ..., queue: _Optional[str] = ..., digest: _Optional[str] = ..., priority: _Optional[int] = ..., parent: _Optional[str] = ..., parent_command: _Optional[str] = ..., tags: _Optional[_Mapping[str, str]] = ..., state: _Optional[_Mapping[str, bytes]] = ..., status: _Optional[str] = ..., seq: _Optional[int] = ..., base: _Optional[int] = ..., applied: _Optional[int] = ..., result: _Optional[bytes] = ..., source: _Optional[str] = ..., created_at: _Optional[int] = ..., updated_at: _Optional[int] = ..., ready_at: _Optional[int] = ..., wake_at: _Optional[int] = ..., fence: _Optional[int] = ..., worker: _Optional[str] = ..., recoveries: _Optional[int] = ..., note: _Optional[str] = ..., fairness_key: _Optional[str] = ...) -> None: ...

class Message(_message.Message):
    __slots__ = ("id", "key", "kind", "name", "payload", "command", "at")
    ID_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    id: str
    key: RunKey
    kind: str
    name: str
    payload: bytes
    command: str
    at: int
    def __init__(self, id: _Optional[str] = ..., key: _Optional[_Union[RunKey, _Mapping]] = ..., kind: _Optional[str] = ..., name: _Optional[str] = ..., payload: _Optional[bytes] = ..., command: _Optional[str] = ..., at: _Optional[int] = ...) -> None: ...

class Entry(_message.Message):
    __slots__ = ("offset", "at", "payload")
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    offset: int
    at: int
    payload: bytes
    def __init__(self, offset: _Optional[int] = ..., at: _Optional[int] = ..., payload: _Optional[bytes] = ...) -> None: ...

class TopicEntry(_message.Message):
    __slots__ = ("topic", "payload")
    TOPIC_FIELD_NUMBER: _ClassVar[int]
    PAYLOAD_FIELD_NUMBER: _ClassVar[int]
    topic: str
    payload: bytes
    def __init__(self, topic: _Optional[str] = ..., payload: _Optional[bytes] = ...) -> None: ...

class Commit(_message.Message):
    __slots__ = ("lease", "expected", "events", "status", "wake_at", "applied", "base", "consumed", "posts", "children", "topics", "state", "tags", "result", "release", "successor", "note")
    class StateEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: bytes
        def __init__(self, key: _Optional[str] = ..., value: _Optional[bytes] = ...) -> None: ...
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    LEASE_FIELD_NUMBER: _ClassVar[int]
    EXPECTED_FIELD_NUMBER: _ClassVar[int]
    EVENTS_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    WAKE_AT_FIELD_NUMBER: _ClassVar[int]
    APPLIED_FIELD_NUMBER: _ClassVar[int]
    BASE_FIELD_NUMBER: _ClassVar[int]
    CONSUMED_FIELD_NUMBER: _ClassVar[int]
    POSTS_FIELD_NUMBER: _ClassVar[int]
    CHILDREN_FIELD_NUMBER: _ClassVar[int]
    TOPICS_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    RELEASE_FIELD_NUMBER: _ClassVar[int]
    SUCCESSOR_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    lease: Lease
    expected: int
    events: _containers.RepeatedCompositeFieldContainer[Event]
    status: str
    wake_at: int
    applied: int
    base: int
    consumed: _containers.RepeatedScalarFieldContainer[str]
    posts: _containers.RepeatedCompositeFieldContainer[Message]
    children: _containers.RepeatedCompositeFieldContainer[NewRun]
    topics: _containers.RepeatedCompositeFieldContainer[TopicEntry]
    state: _containers.ScalarMap[str, bytes]
    tags: _containers.ScalarMap[str, str]
    result: bytes
    release: bool
    successor: NewRun
    note: str
    def __init__(self, lease: _Optional[_Union[Lease, _Mapping]] = ..., expected: _Optional[int] = ..., events: _Optional[_Iterable[_Union[Event, _Mapping]]] = ..., status: _Optional[str] = ..., wake_at: _Optional[int] = ..., applied: _Optional[int] = ..., base: _Optional[int] = ..., consumed: _Optional[_Iterable[str]] = ..., posts: _Optional[_Iterable[_Union[Message, _Mapping]]] = ..., children: _Optional[_Iterable[_Union[NewRun, _Mapping]]] = ..., topics: _Optional[_Iterable[_Union[TopicEntry, _Mapping]]] = ..., state: _Optional[_Mapping[str, bytes]] = ..., tags: _Optional[_Mapping[str, str]] = ..., result: _Optional[bytes] = ..., release: _Optional[bool] = ..., successor: _Optional[_Union[NewRun, _Mapping]] = ..., note: _Optional[str] = ...) -> None: ...

class Created(_message.Message):
    __slots__ = ("run", "new", "lease")
    RUN_FIELD_NUMBER: _ClassVar[int]
    NEW_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    run: Run
    new: bool
    lease: Lease
    def __init__(self, run: _Optional[_Union[Run, _Mapping]] = ..., new: _Optional[bool] = ..., lease: _Optional[_Union[Lease, _Mapping]] = ...) -> None: ...

class Claimed(_message.Message):
    __slots__ = ("run", "lease", "journal", "mail", "partial")
    RUN_FIELD_NUMBER: _ClassVar[int]
    LEASE_FIELD_NUMBER: _ClassVar[int]
    JOURNAL_FIELD_NUMBER: _ClassVar[int]
    MAIL_FIELD_NUMBER: _ClassVar[int]
    PARTIAL_FIELD_NUMBER: _ClassVar[int]
    run: Run
    lease: Lease
    journal: _containers.RepeatedCompositeFieldContainer[Event]
    mail: _containers.RepeatedCompositeFieldContainer[Message]
    partial: bool
    def __init__(self, run: _Optional[_Union[Run, _Mapping]] = ..., lease: _Optional[_Union[Lease, _Mapping]] = ..., journal: _Optional[_Iterable[_Union[Event, _Mapping]]] = ..., mail: _Optional[_Iterable[_Union[Message, _Mapping]]] = ..., partial: _Optional[bool] = ...) -> None: ...

class Filter(_message.Message):
    __slots__ = ("namespace", "workflow", "statuses", "tags", "created_after", "created_before", "prefix", "parent", "fairness_key")
    class TagsEntry(_message.Message):
        __slots__ = ("key", "value")
        KEY_FIELD_NUMBER: _ClassVar[int]
        VALUE_FIELD_NUMBER: _ClassVar[int]
        key: str
        value: str
        def __init__(self, key: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...
    NAMESPACE_FIELD_NUMBER: _ClassVar[int]
    WORKFLOW_FIELD_NUMBER: _ClassVar[int]
    STATUSES_FIELD_NUMBER: _ClassVar[int]
    TAGS_FIELD_NUMBER: _ClassVar[int]
    CREATED_AFTER_FIELD_NUMBER: _ClassVar[int]
    CREATED_BEFORE_FIELD_NUMBER: _ClassVar[int]
    PREFIX_FIELD_NUMBER: _ClassVar[int]
    PARENT_FIELD_NUMBER: _ClassVar[int]
    FAIRNESS_KEY_FIELD_NUMBER: _ClassVar[int]
    namespace: str
    workflow: str
    statuses: _containers.RepeatedScalarFieldContainer[str]
    tags: _containers.ScalarMap[str, str]
    created_after: int
    created_before: int
    prefix: str
    parent: str
    fairness_key: str
    def __init__(self, namespace: _Optional[str] = ..., workflow: _Optional[str] = ..., statuses: _Optional[_Iterable[str]] = ..., tags: _Optional[_Mapping[str, str]] = ..., created_after: _Optional[int] = ..., created_before: _Optional[int] = ..., prefix: _Optional[str] = ..., parent: _Optional[str] = ..., fairness_key: _Optional[str] = ...) -> None: ...

class ErrorDetail(_message.Message):
    __slots__ = ("error", "facts")
    ERROR_FIELD_NUMBER: _ClassVar[int]
    FACTS_FIELD_NUMBER: _ClassVar[int]
    error: str
    facts: str
    def __init__(self, error: _Optional[str] = ..., facts: _Optional[str] = ...) -> None: ...
