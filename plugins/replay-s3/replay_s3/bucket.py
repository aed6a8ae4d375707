"""A bucket, as far as the store needs one: get, list, delete, and two kinds of conditional write.

Rule 1: ``create`` is If-None-Match, ``replace`` is If-Match; nothing else is relied upon. A conditional delete is not: some servers
ignore its condition.
Rule 2: a write whose answer was not heard is never repeated blindly by the client library: the caller knows how to find out what
became of it.
Rule 3: every request is counted by kind, so that what a step costs can be shown.
"""

from __future__ import annotations

import collections
import contextlib
import email.utils
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final, NamedTuple, TypeVar

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from replay.hooks import StoreUnavailable

T = TypeVar("T")
A = TypeVar("A")
LOST: Final = frozenset({"PreconditionFailed", "ConditionalRequestConflict", "412", "409"})
"""Codes of a conditional write that somebody else was quicker than."""
MISSING: Final = frozenset({"NoSuchKey", "404", "NotFound"})
ADVICE: Final = {
    "NoSuchBucket": "create the bucket, or correct its name in the URL",
    "InvalidAccessKeyId": "check AWS_ACCESS_KEY_ID, or the profile",
    "SignatureDoesNotMatch": "check AWS_SECRET_ACCESS_KEY, or the profile",
    "AccessDenied": "the credentials need s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket on this prefix",
    "403": "the credentials need s3:GetObject, s3:PutObject, s3:DeleteObject and s3:ListBucket on this prefix",
    "SlowDown": "it is asked too much at once; it is tried again",
}
PART: Final = 8 * 1024 * 1024
"""Bytes beyond which an object is written in parts, and bytes of a part."""
TRIES: Final = 5
"""How often a read or a delete is tried."""


class Taken(Exception):
    """Somebody else was quicker: the condition of a write does not hold."""


class Unheard(Exception):
    """A write whose answer did not arrive: it may have happened."""


class Object(NamedTuple):
    """An object, or its entry in a listing (then without a body).

    Attributes:
        key: Its key below the prefix.
        tag: Its ETag without quotes: some servers take it in no other way.
        body: Its bytes.
        size: Its size.
        age: Seconds since it was written, by the server's clock; known in a listing only.
    """

    key: str
    tag: str
    body: bytes
    size: int
    age: float = 0.0


class Bucket:
    """One bucket below one prefix.

    Args:
        name: The bucket's name.
        prefix: What every key begins with, ending in a slash or empty.
        endpoint: Another server than AWS, or None.
        region: The region, or None for the usual ways of boto3.
        requests: How many requests are under way at once, at most.
        timeout: Seconds that an answer may take.

    Attributes:
        counts: Requests so far, by kind.
        closed: Whether it was closed; every further request is refused.
    """

    def __init__(
        self, name: str, prefix: str, *, endpoint: str | None, region: str | None, requests: int = 16, timeout: float = 30.0
    ) -> None:
        self.name = name
        self.prefix = prefix
        self.url = f"s3://{name}/{prefix}".rstrip("/")
        self.counts: collections.Counter[str] = collections.Counter()
        self.offset: float | None = None
        self.closed = False
        self._lock = threading.Lock()
        settings = Config(
            retries={"total_max_attempts": 1},
            max_pool_connections=requests,
            connect_timeout=5,
            read_timeout=timeout,
            s3={"addressing_style": "path"} if endpoint else {},
        )
        self._client: Any = boto3.Session().client("s3", endpoint_url=endpoint, region_name=region, config=settings)
        self._client.meta.events.register("after-call.s3", self._hear_time)
        self._here = threading.local()
        self._pool = ThreadPoolExecutor(
            requests, thread_name_prefix="replay-s3", initializer=setattr, initargs=(self._here, "busy", True)
        )

    # ---- reading --------------------------------------------------------------------------------------------------------

    def get(self, key: str) -> Object | None:
        """An object, or None where there is none."""

        def ask() -> Object | None:
            try:
                answer = self._call("get", "get_object", Key=self.prefix + key)
                body = answer["Body"].read()
            except ClientError as error:
                if code_of(error) in MISSING:
                    return None
                raise
            return Object(key, answer["ETag"].strip('"'), body, len(body))

        return self._patiently(ask)

    def entries(self, below: str, *, limit: int = 1_000, after: str = "") -> list[Object]:
        """Entries below a prefix, in the order of their keys."""
        return [*self._entries(below, limit, after)]

    def _entries(self, below: str, limit: int, after: str) -> Iterator[Object]:
        given: dict[str, Any] = {"StartAfter": self.prefix + after} if after else {}
        while limit > 0:
            size = min(limit, 1_000)
            answer = self._patiently(
                lambda size=size, given=given: self._call(  # type: ignore[misc]
                    "list", "list_objects_v2", Prefix=self.prefix + below, MaxKeys=size, **given
                )
            )
            for found in answer.get("Contents", ()):
                age = self.server_time() - found["LastModified"].timestamp()
                yield Object(found["Key"].removeprefix(self.prefix), found["ETag"].strip('"'), b"", found["Size"], age)
            limit -= size
            if not answer.get("IsTruncated"):
                return
            given = {"ContinuationToken": answer["NextContinuationToken"]}

    def folders(self, below: str, *, limit: int = 1_000, after: str = "") -> list[str]:
        """What stands between a prefix and the next slash, as prefixes, at most a thousand, in order."""
        given: dict[str, Any] = {"StartAfter": self.prefix + after + "\U0010ffff"} if after else {}
        answer = self._patiently(
            lambda: self._call("list", "list_objects_v2", Prefix=self.prefix + below, Delimiter="/", MaxKeys=min(limit, 1_000), **given)
        )
        return [found["Prefix"].removeprefix(self.prefix) for found in answer.get("CommonPrefixes", ())]

    # ---- writing --------------------------------------------------------------------------------------------------------

    def create(self, key: str, body: bytes) -> str:
        """Write an object that must not exist; its tag.

        Raises:
            Taken: It exists.
            Unheard: The answer did not arrive.
        """
        return self._put(key, body, IfNoneMatch="*")

    def replace(self, key: str, body: bytes, tag: str) -> str:
        """Write an object that must still be the one with this tag; its new tag.

        Raises:
            Taken: It is not.
            Unheard: The answer did not arrive.
        """
        return self._put(key, body, IfMatch=tag)

    def put(self, key: str, body: bytes) -> None:
        """Write an object, whatever is there, a large one in parts; the same bytes again do no harm."""
        if len(body) > PART:
            self._put_parts(key, body)
            return
        for turn in range(TRIES):
            try:
                self._put(key, body)
            except Unheard as error:
                if turn == TRIES - 1:
                    raise StoreUnavailable(self.url, str(error)) from None
                time.sleep(0.05 * 2**turn)
            else:
                return

    def _put_parts(self, key: str, body: bytes) -> None:
        place = {"Key": self.prefix + key}
        upload = self._patiently(lambda: self._call("put", "create_multipart_upload", **place))["UploadId"]

        def send(number: int) -> dict[str, Any]:
            part = body[(number - 1) * PART : number * PART]
            answer = self._patiently(lambda: self._call("put", "upload_part", **place, UploadId=upload, PartNumber=number, Body=part))
            return {"PartNumber": number, "ETag": answer["ETag"]}

        try:
            parts = self.together(send, list(range(1, -(-len(body) // PART) + 1)))
            self._complete(place, upload, parts)
        except BaseException:
            with contextlib.suppress(StoreUnavailable):
                self._patiently(lambda: self._call("delete", "abort_multipart_upload", **place, UploadId=upload))
            raise

    def _complete(self, place: dict[str, str], upload: str, parts: list[dict[str, Any]]) -> None:
        """Make an object of its parts; when that had happened before and the answer was lost, it is found."""
        try:
            self._patiently(
                lambda: self._call("put", "complete_multipart_upload", **place, UploadId=upload, MultipartUpload={"Parts": parts})
            )
        except StoreUnavailable as error:
            if "NoSuchUpload" not in error.reason or self.get(place["Key"].removeprefix(self.prefix)) is None:
                raise

    def delete(self, keys: list[str]) -> None:
        """Remove objects; those that are gone are passed over."""
        for first in range(0, len(keys), 1_000):
            some = [{"Key": self.prefix + key} for key in keys[first : first + 1_000]]
            self._patiently(lambda some=some: self._call("delete", "delete_objects", Delete={"Objects": some, "Quiet": True}))  # type: ignore[misc]

    def _put(self, key: str, body: bytes, **condition: str) -> str:
        try:
            answer = self._call("put", "put_object", Key=self.prefix + key, Body=body, **condition)
        except ClientError as error:
            code, status = code_of(error), error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
            if code in LOST or status in {409, 412} or (condition and code in MISSING):
                raise Taken(key) from None
            if status >= 500 or code in {"SlowDown", "RequestTimeout"}:
                raise Unheard(f"{code} while writing {key}") from None
            raise self._refusal(error) from None
        except BotoCoreError as error:
            raise Unheard(f"{type(error).__name__} while writing {key}: {error}") from None
        return str(answer["ETag"]).strip('"')

    # ---- many at once -----------------------------------------------------------------------------------------------------

    def together(self, work: Callable[[A], T], items: list[A]) -> list[T]:
        """Do the same for many items, some at a time; results in their order.

        Work that is itself one of many does its own items one by one: were it to wait for threads, all of them might wait.
        """
        if len(items) <= 1 or hasattr(self._here, "busy"):
            return [work(item) for item in items]
        self._require_open()
        return list(self._pool.map(work, items))

    # ---- what it rests on -------------------------------------------------------------------------------------------------

    def _require_open(self) -> None:
        if self.closed:
            raise StoreUnavailable(self.url, "it is closed", "open it again")

    def _call(self, kind: str, verb: str, **given: Any) -> Any:
        self._require_open()
        with self._lock:
            self.counts[kind] += 1
        return getattr(self._client, verb)(Bucket=self.name, **given)

    def _patiently(self, ask: Callable[[], T]) -> T:
        """Ask again while the server is busy; a question may be asked twice."""
        for turn in range(TRIES):
            try:
                return ask()
            except ClientError as error:
                status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
                if turn == TRIES - 1 or not (status >= 500 or code_of(error) in {"SlowDown", "RequestTimeout"}):
                    raise self._refusal(error) from None
            except BotoCoreError as error:
                if turn == TRIES - 1:
                    raise StoreUnavailable(self.url, f"{type(error).__name__}: {error}") from None
            time.sleep(0.05 * 2**turn)
        raise AssertionError

    def _refusal(self, error: ClientError) -> StoreUnavailable:
        code = code_of(error)
        text = error.response.get("Error", {}).get("Message", "") or str(error)
        return StoreUnavailable(self.url, f"{code}: {text}", ADVICE.get(code, "try again, or look at the server's log"))

    def _hear_time(self, http_response: Any, **_: Any) -> None:
        """Learn the server's time from its Date header, which is cut to whole seconds: the newest of all cuts is nearest."""
        said = email.utils.parsedate_to_datetime(http_response.headers["Date"]) if "Date" in http_response.headers else None
        if said is not None:
            heard = said.timestamp() - time.monotonic()
            if self.offset is None or heard > self.offset or self.offset - heard > 5:
                self.offset = heard

    def server_time(self) -> float:
        """Seconds since 1970 by the server's clock, as far as it is known."""
        return time.time() if self.offset is None else self.offset + time.monotonic()

    def require_conditions(self) -> None:
        """Refuse a server that ignores the conditions of writes, or a bucket that cannot be used.

        Raises:
            StoreUnavailable: It does.
        """
        self._patiently(lambda: self._call("list", "list_objects_v2", Prefix=self.prefix, MaxKeys=1))
        key = f"probe/{uuid.uuid4().hex}"
        try:
            tag = self.create(key, b"1")
            kept = self._is_refused(lambda: self.create(key, b"2")) and self._is_refused(lambda: self.replace(key, b"3", "0" * 32))
            self.replace(key, b"4", tag)
        except (Unheard, Taken) as error:
            raise StoreUnavailable(self.url, f"the first write failed: {error}") from None
        finally:
            self.delete([key])
        if not kept:
            advice = (
                "use a server that honours If-None-Match and If-Match of PutObject; without them two workers would overwrite each other"
            )
            raise StoreUnavailable(self.url, "the server ignores the conditions of writes", advice)

    def _is_refused(self, write: Callable[[], str]) -> bool:
        try:
            write()
        except Taken:
            return True
        return False

    def require_memory(self, *, versions: str = "") -> None:
        """Refuse a bucket that deletes journals by age, or keeps every version of every head for ever.

        Args:
            versions: ``keep``: they are to be kept.

        Raises:
            StoreUnavailable: It does.
        """
        rules = [rule for rule in self._asked("get_bucket_lifecycle_configuration").get("Rules", ()) if self._concerns(rule)]
        for rule in rules:
            if rule.get("Expiration", {}).keys() & {"Days", "Date"}:
                advice = f"remove the rule {rule.get('ID', '')!r}, or use another prefix; `replay store prune` removes runs that ended"
                raise StoreUnavailable(self.url, "a lifecycle rule of the bucket deletes objects by age", advice)
        versioned = self._asked("get_bucket_versioning").get("Status") == "Enabled"
        if versioned and versions != "keep" and not any("NoncurrentVersionExpiration" in rule for rule in rules):
            advice = "suspend versioning, add a lifecycle rule that expires non-current versions, or say ?versions=keep"
            raise StoreUnavailable(self.url, "the bucket is versioned, and keeps an old head for every commit for ever", advice)

    def _asked(self, verb: str) -> Any:
        """What the bucket says of itself; nothing where it says nothing, or not to these credentials."""
        try:
            return self._call("get", verb)
        except (ClientError, BotoCoreError):
            return {}

    def _concerns(self, rule: Any) -> bool:
        """Whether a lifecycle rule is about what lies here."""
        chosen = rule.get("Filter", {})
        below = chosen.get("Prefix", chosen.get("And", {}).get("Prefix", rule.get("Prefix", ""))) or ""
        return rule.get("Status") == "Enabled" and (below.startswith(self.prefix) or self.prefix.startswith(below))

    def close(self) -> None:
        """Let go of threads and connections."""
        self.closed = True
        self._pool.shutdown(wait=True)
        self._client.close()


def code_of(error: ClientError) -> str:
    """The code of a server's refusal."""
    return str(error.response.get("Error", {}).get("Code", ""))
