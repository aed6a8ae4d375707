"""Buckets, servers and credentials that do not fit: each is an error at the start, which names it and says what to do."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from replay_s3.store import open_s3
from replay_s3.testing import ceph
from replay_s3.testing.ceph import client
from replay_s3.testing.fixtures import fresh_bucket
from replay_s3.things import open_things

from replay import StoreUnavailable
from replay.hooks import open_blobs, open_store
from replay.testing.store_suite.case import begin, key, turn

pytestmark = pytest.mark.s3
Login = Callable[[str, str], None]


@pytest.fixture
def login(monkeypatch: pytest.MonkeyPatch) -> Login:
    """Become another user."""

    def become(user: str, secret: str) -> None:
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", user)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)

    return become


def test_a_bucket_that_does_not_exist_is_named(gateways: list[str]) -> None:
    """As a store, and as the place for large payloads."""
    for open_one in (open_s3, open_things):
        with pytest.raises(StoreUnavailable, match=r"no-such-bucket-here.*create the bucket"):
            open_one(f"s3://no-such-bucket-here/x?endpoint={gateways[0]}")


@pytest.mark.parametrize(
    ("user", "secret", "words"),
    [("nobody", ceph.SECRET, "AWS_ACCESS_KEY_ID"), (ceph.USERS[0], "wrong", "AWS_SECRET_ACCESS_KEY")],
)
def test_credentials_that_are_wrong_are_named(real_urls: list[str], login: Login, user: str, secret: str, words: str) -> None:
    """And not shown."""
    login(user, secret)

    with pytest.raises(StoreUnavailable, match=words) as caught:
        open_s3(real_urls[0])
    assert secret not in str(caught.value).split()


def test_credentials_that_may_only_read_are_told(gateways: list[str], login: Login) -> None:
    """What they need is in the error; nothing was written."""
    bucket = fresh_bucket(gateways[0])
    allowed = {
        "Effect": "Allow",
        "Principal": {"AWS": [f"arn:aws:iam:::user/{ceph.USERS[1]}"]},
        "Action": ["s3:GetObject", "s3:ListBucket"],
        "Resource": [f"arn:aws:s3:::{bucket}", f"arn:aws:s3:::{bucket}/*"],
    }
    client(gateways[0]).put_bucket_policy(Bucket=bucket, Policy=json.dumps({"Version": "2012-10-17", "Statement": [allowed]}))
    login(ceph.USERS[1], ceph.SECRET)

    for open_one in (open_s3, open_things):
        with pytest.raises(StoreUnavailable, match=r"AccessDenied.*s3:PutObject"):
            open_one(f"s3://{bucket}/x?endpoint={gateways[0]}")
    assert "Contents" not in client(gateways[0]).list_objects_v2(Bucket=bucket)


def test_a_server_that_is_not_there_is_told(endpoint: str) -> None:
    """After a few tries, and as unavailable, which passes."""
    with pytest.raises(StoreUnavailable, match=r"127\.0\.0\.1:1/"):
        open_s3("s3://bucket/x?endpoint=http://127.0.0.1:1")


# ---- buckets that forget, and buckets that forget nothing -------------------------------------------------------------------


def rule(name: str, prefix: str, **effect: Any) -> dict[str, Any]:
    """A lifecycle rule."""
    return {"ID": name, "Status": "Enabled", "Filter": {"Prefix": prefix}, **effect}


def set_rules(endpoint: str, bucket: str, *rules: dict[str, Any]) -> None:
    client(endpoint).put_bucket_lifecycle_configuration(Bucket=bucket, LifecycleConfiguration={"Rules": list(rules)})


@pytest.mark.parametrize("prefix", ["", "x", "x/", "x/runs/"])
def test_a_rule_that_deletes_journals_is_refused(endpoint: str, bucket: str, prefix: str) -> None:
    """Or even some of them."""
    set_rules(endpoint, bucket, rule("spring cleaning", prefix, Expiration={"Days": 30}))

    for open_one in (open_s3, open_things):
        with pytest.raises(StoreUnavailable, match=r"deletes objects by age; remove the rule 'spring cleaning'"):
            open_one(f"s3://{bucket}/x?endpoint={endpoint}")


def test_a_rule_about_something_else_is_none_of_our_business(endpoint: str, bucket: str) -> None:
    """Another prefix of the same bucket, and uploads that were never finished."""
    unfinished = rule("uploads", "", AbortIncompleteMultipartUpload={"DaysAfterInitiation": 1})
    set_rules(endpoint, bucket, rule("logs", "logs/", Expiration={"Days": 1}), unfinished)

    open_s3(f"s3://{bucket}/x?endpoint={endpoint}").close()


def test_a_versioned_bucket_is_refused_unless_old_versions_go(endpoint: str, bucket: str) -> None:
    """Every commit would leave an old head, for ever."""
    url = f"s3://{bucket}/x?endpoint={endpoint}"
    client(endpoint).put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    with pytest.raises(StoreUnavailable, match=r"is versioned.*suspend versioning"):
        open_s3(url)
    open_s3(f"{url}&versions=keep").close()

    set_rules(endpoint, bucket, rule("old", "", NoncurrentVersionExpiration={"NoncurrentDays": 1}))
    open_s3(url).close()


# ---- large things ---------------------------------------------------------------------------------------------------------


def test_large_things_go_in_parts(real_urls: list[str]) -> None:
    """Whole, in the right order, and written again without harm."""
    blobs = open_blobs(real_urls[0])
    large = bytes(range(256)) * (70 * 1024)  # 17.5 MB: three parts, the last one short

    blobs.put("large", large)
    blobs.put("large", large)

    assert large == open_blobs(real_urls[1]).get("large")
    blobs.close()


def test_a_store_elsewhere_keeps_large_payloads_in_a_bucket(real_urls: list[str]) -> None:
    """``memory://?blobs=s3://…``, whose query is part of the query."""
    place = real_urls[0].replace("?", "%3F").replace("&", "%26")
    store = open_store(f"memory://?blobs={place}&blobs_above=1000")
    payload = b'"' + b"x" * 5_000 + b'"'
    store.commit([turn(begin(store), 1, state={"shown": payload})])
    (run,) = store.get([key()])

    assert run is not None
    assert payload == run.state["shown"]
    store.close()
