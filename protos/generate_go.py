"""Generate the Go side of the wire from `protos/`: `python protos/generate_go.py`, or `make protos`.

The plugins of protoc are tools of the Go module, pinned in its go.mod and go.sum; protoc itself is grpcio-tools', as for Python. So the
result is the same for everybody.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent
MODULE = ROOT.parent / "sdks" / "go"
NAME = "example.org/replay"
HOME = f"{NAME}/internal/generated"


def go() -> str | None:
    """The go command, or None where there is none."""
    return shutil.which("go") or shutil.which("go", path="/usr/local/go/bin")


def main(target: Path = MODULE) -> int:
    """Generate into `internal/generated` below the target; protoc's exit code."""
    command = go()
    if command is None:
        print("no go command: the Go side of the wire is left as it is")
        return 0

    def tool(name: str) -> str:
        return subprocess.run([command, "tool", "-n", name], cwd=MODULE, check=True, capture_output=True, text=True).stdout.strip()

    sources = sorted((ROOT / "replay" / "v1").glob("*.proto"))
    options = ",".join([f"module={NAME}", *(f"M{path.relative_to(ROOT).as_posix()}={HOME};wire" for path in sources)])
    code: int = protoc.main(
        [
            "protoc",
            f"-I{ROOT}",
            f"-I{Path(protoc.__file__).parent / '_proto'}",
            f"--plugin=protoc-gen-go={tool('protoc-gen-go')}",
            f"--plugin=protoc-gen-go-grpc={tool('protoc-gen-go-grpc')}",
            f"--go_out={target}",
            f"--go_opt={options}",
            f"--go-grpc_out={target}",
            f"--go-grpc_opt={options}",
            *map(str, sources),
        ]
    )
    return code


if __name__ == "__main__":
    sys.exit(main())
