"""A bucket as the place for large payloads and archives, beside any store: ``?blobs=s3://bucket/prefix``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from replay.hooks import Thing, require_usable
from replay_s3.address import open_bucket
from replay_s3.bucket import Bucket


def open_things(url: str) -> BucketBlobs:
    """Open it; nothing is asked of the server's conditions, as no name is written twice.

    Raises:
        InvalidRequest: The URL does not fit.
        StoreUnavailable: The bucket cannot be used, or a lifecycle rule would delete what lies there.
    """
    bucket, options = open_bucket(url)
    blobs = BucketBlobs(bucket)
    try:
        require_usable(blobs)
        bucket.require_memory(versions=options.get("versions", "keep"))
    except BaseException:
        blobs.close()
        raise
    return blobs


class BucketBlobs:
    """Objects of a bucket.

    Attributes:
        url: The bucket and prefix.
        bucket: What it rests on.
    """

    def __init__(self, bucket: Bucket) -> None:
        self.bucket = bucket
        self.url = bucket.url

    def put(self, name: str, data: bytes) -> None:
        """See ``Blobs.put``."""
        self.bucket.put(name, data)

    def get(self, name: str) -> bytes | None:
        """See ``Blobs.get``."""
        found = self.bucket.get(name)
        return None if found is None else found.body

    def things(self, below: str) -> Iterator[Thing]:
        """See ``Blobs.things``."""
        after = ""
        while page := self.bucket.entries(below, limit=1_000, after=after):
            yield from (Thing(found.key, found.age) for found in page)
            after = page[-1].key

    def delete(self, names: Sequence[str]) -> None:
        """See ``Blobs.delete``."""
        self.bucket.delete(list(names))

    def close(self) -> None:
        """See ``Blobs.close``."""
        self.bucket.close()
