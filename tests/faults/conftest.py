"""Real processes on one SQLite file, and what may happen to it."""

from __future__ import annotations

import os
import resource
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import attrs
import pytest

from tests.faults import load
from tests.helpers.stores import cluster, credentials, gateways, postgres_url, real_bucket, real_urls, shared_url

__all__ = ["cluster", "credentials", "gateways", "postgres_url", "real_bucket", "real_urls", "shared_url"]


@pytest.fixture
def url(tmp_path: Path) -> str:
    """A file of one's own."""
    return f"sqlite:///{tmp_path}/runs.db"


@pytest.fixture
def log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where steps note that they begin."""
    path = tmp_path / "executions"
    monkeypatch.setenv(load.LOG_FILE, str(path))
    return path


@attrs.frozen
class Disk:
    """A small disk, or what comes close to one where nothing may be mounted.

    Attributes:
        folder: Where its files are.
        fill: Leave no room on it.
        free: Make room again.
        freeze: Let nothing be written any more.
        thaw: Let it be written again.
    """

    folder: Path
    fill: Callable[[], None]
    free: Callable[[], None]
    freeze: Callable[[], None]
    thaw: Callable[[], None]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    """A disk of a few megabytes in memory; without the right to mount one, limits of this process."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", folder], check=False, capture_output=True)
    if mounted.returncode == 0:
        yield mounted_disk(folder)
        subprocess.run(["mount", "-o", "remount,rw", folder], check=False)
        subprocess.run(["umount", "-l", folder], check=True)
    else:
        yield limited_disk(folder)


def mounted_disk(folder: Path) -> Disk:
    filler = folder / "filler"
    filler.touch()

    def fill() -> None:
        with filler.open("ab", buffering=0) as file:
            try:
                while True:
                    file.write(b"x" * 65_536)
            except OSError:
                pass

    def remount(mode: str) -> None:
        subprocess.run(["mount", "-o", f"remount,{mode}", folder], check=True)

    return Disk(folder, fill, lambda: os.truncate(filler, 0), lambda: remount("ro"), lambda: remount("rw"))


def limited_disk(folder: Path) -> Disk:
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill() -> None:
        largest = max(path.stat().st_size for path in folder.iterdir())
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, hard))

    def free() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))

    def allow(file: int, within: int) -> None:
        for path in folder.iterdir():
            path.chmod(file)
        folder.chmod(within)

    def freeze() -> None:
        if os.geteuid() == 0:
            pytest.skip("root may write where nobody may: run it as another user, or where a disk can be mounted")
        allow(0o444, 0o555)

    return Disk(folder, fill, free, freeze, lambda: allow(0o644, 0o755))
