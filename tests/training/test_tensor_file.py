"""Our safetensors files are the library's, whatever the types, shapes and memory layouts."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from etude.errors import CheckpointError
from etude.training import tensor_file

DTYPES = sorted(tensor_file.DTYPES, key=str)


@st.composite
def tensors(draw: st.DrawFn) -> torch.Tensor:
    shape = draw(st.lists(st.integers(0, 4), max_size=3))
    count = int(torch.tensor(shape).prod()) if shape else 1
    dtype = draw(st.sampled_from(DTYPES))
    width = torch.empty(0, dtype=dtype).element_size()
    content = draw(st.binary(min_size=count * width, max_size=count * width))
    if dtype is torch.bool:
        content = bytes(byte & 1 for byte in content)
    whole = torch.frombuffer(bytearray(content), dtype=dtype) if content else torch.empty(0, dtype=dtype)
    tensor = whole.reshape(shape)
    return tensor.transpose(0, -1) if draw(st.booleans()) and len(shape) > 1 else tensor


def same(one: torch.Tensor, other: torch.Tensor) -> bool:
    def content(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.contiguous().reshape(-1).view(torch.uint8)

    return one.dtype == other.dtype and one.shape == other.shape and torch.equal(content(one), content(other))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    st.dictionaries(st.text(min_size=1, max_size=8).filter(lambda name: name != "__metadata__"), tensors(), max_size=5)
)
def test_the_library_reads_what_we_write(named: dict[str, torch.Tensor]) -> None:
    found = load(b"".join(tensor_file.pieces(named)))
    assert set(found) == set(named)
    assert all(same(found[name], named[name]) for name in named)


def test_the_bytes_are_those_of_the_library() -> None:
    named = {"b": torch.arange(3.0), "a": torch.arange(4, dtype=torch.int64), "c": torch.ones(5, dtype=torch.bfloat16)}
    assert b"".join(tensor_file.pieces(named)) == save(named)
    assert b"".join(tensor_file.pieces(dict(reversed(named.items())))) == save(named)


def test_large_tensors_travel_in_pieces(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tensor_file, "PIECE_BYTES", 10)
    named = {"w": torch.arange(16.0)}
    pieces = list(tensor_file.pieces(named))
    assert [len(piece) for piece in pieces[1:]] == [10] * 6 + [4]
    (tmp_path / "w").write_bytes(b"".join(pieces))
    assert same(tensor_file.read(tmp_path / "w")["w"], named["w"])
    assert tensor_file.num_bytes(named) == 64


def test_what_the_format_cannot_hold_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"w holds torch\.complex64"):
        list(tensor_file.pieces({"w": torch.zeros(1, dtype=torch.complex64)}))
    (tmp_path / "w").write_bytes(b"\x80\x04pickled")
    with pytest.raises(CheckpointError, match="no safetensors file"):
        tensor_file.read(tmp_path / "w")
