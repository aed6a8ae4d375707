"""Generate the wire from `protos/`, for Python and TypeScript: `python protos/generate.py`, or `make protos`.

protoc writes imports as if `replay.v1` were a Python package of its own; it would collide with this library, so they are turned to
where the code lives. Nothing else is touched, and the result is the same for everybody who has the pinned grpcio-tools.

For TypeScript protoc calls ts-proto, which `npm ci` in `sdks/typescript` installs as its lock file pins it; without it that side
is left as it is.
"""

from __future__ import annotations

import sys
from pathlib import Path

from grpc_tools import protoc

ROOT = Path(__file__).resolve().parent
TARGET = ROOT.parent / "replay" / "service" / "generated"
HOME = "replay.service.generated"
TYPESCRIPT = ROOT.parent / "sdks" / "typescript"
TS_TARGET = TYPESCRIPT / "src" / "generated"
TS_PROTO = TYPESCRIPT / "node_modules" / ".bin" / "protoc-gen-ts_proto"
TS_OPTIONS = "outputServices=grpc-js,esModuleInterop=true,importSuffix=.js,forceLong=number,outputJsonMethods=false"


def main(target: Path = TARGET) -> int:
    """Generate, move, and turn the imports; protoc's exit code."""
    target.mkdir(parents=True, exist_ok=True)
    sources = sorted(str(path) for path in (ROOT / "replay" / "v1").glob("*.proto"))
    include = str(Path(protoc.__file__).parent / "_proto")
    code: int = protoc.main(
        [
            "protoc",
            f"-I{ROOT}",
            f"-I{include}",
            f"--python_out={target}",
            f"--pyi_out={target}",
            f"--grpc_python_out={target}",
            *sources,
        ]
    )
    nested = target / "replay" / "v1"
    for made in sorted(nested.iterdir()) if code == 0 else ():
        text = made.read_text(encoding="utf-8").replace("from replay.v1 import", f"from {HOME} import")
        (target / made.name).write_text(text, encoding="utf-8")
        made.unlink()
    if code == 0:
        nested.rmdir()
        nested.parent.rmdir()
        (target / "__init__.py").write_text('"""Generated from protos/ by `make protos`; never edited."""\n', encoding="utf-8")
    return code


def typescript(target: Path = TS_TARGET) -> int:
    """Generate the TypeScript side; protoc's exit code."""
    target.mkdir(parents=True, exist_ok=True)
    sources = sorted(str(path) for path in (ROOT / "replay" / "v1").glob("*.proto"))
    plugin = f"--plugin=protoc-gen-ts_proto={TS_PROTO}"
    code: int = protoc.main(["protoc", f"-I{ROOT}", plugin, f"--ts_proto_out={target}", f"--ts_proto_opt={TS_OPTIONS}", *sources])
    nested = target / "replay" / "v1"
    for made in sorted(nested.iterdir()) if code == 0 else ():
        made.replace(target / made.name)
    if code == 0:
        nested.rmdir()
        nested.parent.rmdir()
    return code


if __name__ == "__main__":
    sys.exit(main() or (typescript() if TS_PROTO.exists() else 0))
