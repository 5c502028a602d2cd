"""The generated code is that of the .proto files."""

import pytest

from rpc.generate import PROTOS, ROOT, GenerationFailed, generate


def test_the_code_is_what_the_proto_files_make(tmp_path):
    generate(tmp_path)
    made = sorted(path.relative_to(tmp_path) for path in tmp_path.rglob("*.py*"))
    assert 3 * len(PROTOS) == len(made)
    differing = [str(path) for path in made if (tmp_path / path).read_text() != (ROOT / path).read_text()]
    assert [] == differing, "run `python -m rpc.generate`"


def test_a_file_that_cannot_be_compiled_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr("rpc.generate.PROTOS", ("rpc/nowhere.proto",))
    with pytest.raises(GenerationFailed, match=r"rpc/nowhere\.proto"):
        generate(tmp_path)
