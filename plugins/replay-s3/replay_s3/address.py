"""The address of a bucket: ``s3://bucket/prefix?endpoint=…&region=…&requests=…&timeout=…&versions=keep&probe=off``.

Credentials come in the usual ways of boto3 and never in the URL: one that holds some is refused, and not repeated in the error.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, urlsplit

from replay.hooks import InvalidRequest
from replay_s3.bucket import Bucket

OPTIONS: Final = frozenset({"endpoint", "region", "requests", "timeout", "versions", "probe"})
ADVICE: Final = "write s3://bucket/prefix?endpoint=…&region=…; credentials come from the environment or a profile"


def open_bucket(url: str) -> tuple[Bucket, Mapping[str, str]]:
    """The bucket that a URL names, and the URL's options.

    Raises:
        InvalidRequest: It names none, or has an option that there is not.
    """
    parts = urlsplit(url)
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    unknown = set(options) - OPTIONS
    if unknown or not parts.hostname or parts.username:
        problem = f"unknown options {', '.join(sorted(unknown))}" if unknown else "it names no bucket, or holds credentials"
        raise InvalidRequest(f"store URL s3://{parts.hostname or ''}", problem, ADVICE)
    prefix = parts.path.strip("/")
    try:
        bucket = Bucket(
            parts.netloc,
            f"{prefix}/" if prefix else "",
            endpoint=options.get("endpoint"),
            region=options.get("region"),
            requests=int(options.get("requests", 16)),
            timeout=float(options.get("timeout", 30)),
        )
    except ValueError as error:
        raise InvalidRequest(f"store URL s3://{parts.netloc}", str(error), "check endpoint, requests and timeout") from None
    return bucket, options
