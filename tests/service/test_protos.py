"""The generated code is what the protos say, for everybody who generates it."""

from __future__ import annotations

import runpy
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def test_generating_again_leaves_no_diff(tmp_path: Path) -> None:
    """`make protos` changes nothing: what is committed fits the protos."""
    generate = runpy.run_path(str(ROOT / "protos" / "generate.py"))["main"]
    assert 0 == generate(tmp_path)

    def texts(folder: Path) -> dict[str, str]:
        return {path.name: path.read_text(encoding="utf-8") for path in folder.glob("*.py*")}

    assert texts(ROOT / "replay" / "service" / "generated") == texts(tmp_path)


@pytest.mark.parametrize("path", sorted((ROOT / "protos").rglob("*.proto")), ids=lambda path: path.name)
def test_the_protos_keep_bufs_rules(path: Path) -> None:
    """Package by folder, lower_snake_case fields, enum values with their enum's name, services that end in Service."""
    from google.protobuf import descriptor_pb2

    from replay.service.generated import client_pb2, types_pb2, worker_pb2

    module = {"client.proto": client_pb2, "types.proto": types_pb2, "worker.proto": worker_pb2}[path.name]
    found = descriptor_pb2.FileDescriptorProto()
    module.DESCRIPTOR.CopyToProto(found)

    assert "replay.v1" == found.package
    assert all(field.name == field.name.lower() for message in found.message_type for field in message.field)
    for enum in found.enum_type:
        assert all(value.name.startswith(f"{enum.name.upper()}_") for value in enum.value)
        assert f"{enum.name.upper()}_UNSPECIFIED" == enum.value[0].name
    for service in found.service:
        assert service.name.endswith("Service")
        for method in service.method:
            assert method.input_type.endswith("Request")
            assert method.output_type.endswith("Response")
