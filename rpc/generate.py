"""`python -m rpc.generate`: write the Python code of the .proto files beside them."""

import sys
from importlib.resources import files
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[1]
PROTOS: Final = ("rpc/task/v1/task.proto",)


class GenerationFailed(RuntimeError):
    """A .proto file cannot be compiled; protoc has said why on standard error."""


def generate(directory: Path) -> None:
    """Write the code of all services below a directory. Raises: GenerationFailed."""
    from grpc_tools import protoc  # only those who change a .proto file have it

    for proto in PROTOS:
        included = files("grpc_tools") / "_proto"
        outputs = [f"--{kind}_out={directory}" for kind in ("python", "pyi", "grpc_python")]
        if protoc.main(["protoc", f"-I{ROOT}", f"-I{included}", *outputs, proto]) != 0:
            raise GenerationFailed(proto)


if __name__ == "__main__":
    generate(Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT)
