"""C kernels for what a decoder block does between its matrix products, built once by the machine's own compiler.

`compiled()` is None where there is no compiler; the generic path is used then. `ETUDE_KERNELS` names the folder of
built libraries (default: `kernels` beside the converted models), or turns them `off`; `CFLAGS` adds compiler flags.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import platform
import shutil
import subprocess
import tempfile
from contextlib import nullcontext
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.autograd.profiler import record_function

from etude.models.source import cache_folder

log = logging.getLogger(__name__)

HERE = Path(__file__).parent
SOURCES = (
    "kernels.c",
    "kernels_typed.h",
    "registers.h",
    "products.h",
    "blocks_amx.h",
    "blocks_avx512.h",
    "attention.h",
    "choice.h",
    "paged.h",
    "paged_typed.h",
    "tiles.h",
)
FLAGS = ("-O3", "-march=native", "-std=gnu11", "-fno-math-errno", "-fno-trapping-math", "-shared", "-fPIC")
"""Sums are reordered only where the source says so; NaN and infinity keep their meaning."""
SUFFIX = {torch.float32: "f32", torch.bfloat16: "bf16"}
COMPILE_SECONDS = 180
PROFILED = "kernel: "
"""Before a kernel's name among a profile's events."""

shown_to_profiler = False
"""Set while a profile is recorded: torch's profiler does not see through ctypes."""


@cache
def compiled() -> ctypes.CDLL | None:
    """The library, built on the first call on this machine (about 2 s) and then read from the cache."""
    if os.environ.get("ETUDE_KERNELS") == "off":
        return None
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None:
        log.warning("no C compiler (cc) on this machine: the slower generic path is used")
        return None
    try:
        library = ctypes.CDLL(str(_built(compiler)))
    except (OSError, subprocess.SubprocessError) as error:
        detail = getattr(error, "stderr", None) or str(error)
        log.warning("the C kernels cannot be built with %s (%s): the slower generic path is used", compiler, detail)
        return None
    library.keep_freed_memory()
    return library


def _built(compiler: str) -> Path:
    content = b"".join((HERE / name).read_bytes() for name in SOURCES)
    version = subprocess.run([compiler, "--version"], capture_output=True, text=True, check=True, timeout=10).stdout
    key = "\0".join((version, " ".join(_flags()), _processor()))
    folder = Path(os.environ.get("ETUDE_KERNELS") or cache_folder().parent / "kernels")
    target = folder / f"{hashlib.sha256(content + key.encode()).hexdigest()[:16]}.so"
    if target.exists():
        return target
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".building-") as building:
        made = Path(building) / "kernels.so"
        command = [compiler, *_flags(), "-o", str(made), str(HERE / SOURCES[0]), "-lm"]
        try:  # the threads are torch's own: the library that it has loaded goes by this name
            _compile([*command, "-fopenmp"])
        except subprocess.CalledProcessError:
            _compile(command)
        made.replace(target)
    return target


def _flags() -> tuple[str, ...]:
    wide = ("-mprefer-vector-width=512",) if platform.machine() in ("x86_64", "AMD64") else ()
    return (*FLAGS, *wide, *os.environ.get("CFLAGS", "").split())


def _compile(command: list[str]) -> None:
    subprocess.run(command, capture_output=True, text=True, check=True, timeout=COMPILE_SECONDS)


def _processor() -> str:
    """What `-march=native` depends on: a cache may be shared between machines."""
    flags = ""
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
        flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()} {platform.processor()} {flags}"


def computes(tensor: Tensor) -> bool:
    """Whether the kernels can work on this tensor."""
    return tensor.device.type == "cpu" and tensor.dtype in SUFFIX and compiled() is not None


@cache
def multiplies() -> bool:
    """Whether the kernels multiply bfloat16 matrices themselves (AMX or AVX512-BF16)."""
    library = compiled()
    return library is not None and bool(library.products_ready())


def give_back_memory() -> None:
    """Hands back what was freed: for where much was that will not be wanted again, as after reading a model."""
    library = compiled()
    if library is not None:
        library.give_back_memory()


def run(name: str, *arguments: Tensor | float | int | None, strided: bool = False) -> None:
    """Calls a kernel: tensors (the first one's type picks the variant) as pointers, ints and floats as such.

    Tensors are contiguous, or, where the kernel is told their strides, have contiguous rows. Shapes are the caller's
    duty; see kernels_typed.h and products.h.
    """
    first = arguments[0]
    assert isinstance(first, Tensor)
    pointers: list[float | int | None] = []
    for one in arguments:
        if isinstance(one, Tensor):
            assert one.stride(-1) == 1 if strided else one.is_contiguous()
            pointers.append(one.data_ptr())
        else:
            pointers.append(one)
    function = _function(f"{name}_{SUFFIX[first.dtype]}")
    if function.argtypes is None:
        function.argtypes = [_type_of(one) for one in arguments]
    with record_function(f"{PROFILED}{name}") if shown_to_profiler else nullcontext():
        function(*pointers)


def _type_of(argument: Tensor | float | int | None) -> type[Any]:
    if argument is None or isinstance(argument, Tensor):
        return ctypes.c_void_p
    return ctypes.c_int64 if isinstance(argument, int) else ctypes.c_float


@cache
def _function(name: str) -> Any:
    library = compiled()
    assert library is not None
    function = getattr(library, name)
    function.restype = None
    return function
