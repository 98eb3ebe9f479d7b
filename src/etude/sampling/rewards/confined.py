"""The child in which a model's code runs: it gives away what it may do, then runs it. A program, not imported.

It is started by `code.py` in an empty folder of its own and needs nothing of Etude. What it gives away: memory, time,
file size (everywhere); on Linux also new processes, programs, sockets and signals (seccomp), every file but its own
folder's and, to read, Python's (Landlock), and a root's powers (capabilities).
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import resource
import runpy
import struct
import sys
from typing import Any

ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
X32 = 0x40000000
REFUSED = {
    # socket fork vfork execve kill ptrace setrlimit chroot mount umount2 reboot tkill tgkill rt_sigqueueinfo keyctl
    # add_key request_key unshare perf_event_open rt_tgsigqueueinfo prlimit64 setns process_vm_readv process_vm_writev
    # finit_module init_module bpf execveat userfaultfd io_uring_setup pidfd_send_signal pidfd_open pivot_root
    # kexec_load (not on aarch64: it has no fork and vfork)
    "x86_64": (
        41, 57, 58, 59, 62, 101, 160, 161, 165, 166, 169, 200, 234, 129, 250, 248, 249, 272, 298, 297, 302, 308, 310,
        311, 313, 175, 321, 322, 323, 425, 424, 434, 155, 246,
    ),
    "aarch64": (
        198, 221, 129, 117, 164, 51, 40, 39, 142, 130, 131, 138, 219, 217, 218, 97, 241, 240, 261, 268, 270, 271, 273,
        105, 280, 281, 282, 425, 424, 434, 41, 104,
    ),
}  # fmt: skip
CLONE = {"x86_64": 56, "aarch64": 220}
CLONE3 = 435
CLONE_THREAD = 0x10000
PERMITTED, REFUSE, NOT_THERE, KILLED = 0x7FFF0000, 0x00050001, 0x00050026, 0x80000000
PR_SET_PDEATHSIG, PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP = 1, 38, 22
LANDLOCK_CREATE, LANDLOCK_ADD, LANDLOCK_RESTRICT, CAPSET = 444, 445, 446, {"x86_64": 126, "aarch64": 91}
LANDLOCK_BITS = {1: 13, 2: 14, 3: 15, 4: 15}
"""Kinds of access that each version of Landlock knows; 16 from the fifth on."""
READ_FILE, READ_FOLDER = 1 << 2, 1 << 3
LARGEST_FILE = 16 << 20

libc = ctypes.CDLL(None, use_errno=True)


def main() -> None:
    """Reads the job, gives powers away, says which, and runs the code and its tests."""
    job = json.load(sys.stdin)
    with os.fdopen(job["told"], "w") as told:
        held = confine(job["memory_bytes"], job["cpu_seconds"])
        tell(told, job["nonce"], {"held": held})
        if job["input"] is not None:
            os.dup2(os.open(job["input"], os.O_RDONLY), 0)
            sys.stdin = open(0, encoding="utf-8")  # noqa: SIM115  # the code's own, for as long as it runs
            runpy.run_path("answer.py", run_name="__main__")
            return
        known = runpy.run_path("answer.py", run_name="answer")
        for number in range(job["num_tests"]):
            try:
                runpy.run_path(f"test_{number}.py", init_globals=known)
                tell(told, job["nonce"], {"passed": number})
            except BaseException:  # noqa: BLE001  # the code may raise anything, an end of the program included
                continue


def tell(told: Any, nonce: str, what: dict[str, object]) -> None:
    """One line for the parent; the nonce says that it is not the code's own doing by accident."""
    print(json.dumps({**what, "nonce": nonce}), file=told, flush=True)


def confine(memory_bytes: int, cpu_seconds: int) -> list[str]:
    """Gives away what can be given away here; the names of what is held."""
    for limit, most in (
        (resource.RLIMIT_AS, memory_bytes),
        (resource.RLIMIT_CPU, cpu_seconds),
        (resource.RLIMIT_FSIZE, LARGEST_FILE),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (most, most))
    machine = platform.machine()
    if sys.platform != "linux" or machine not in ARCHITECTURES or struct.calcsize("P") != 8:
        return ["limits"]
    libc.prctl(PR_SET_PDEATHSIG, 9, 0, 0, 0)
    libc.syscall(CAPSET[machine], struct.pack("II", 0x20080522, 0), bytes(24))
    held = ["limits"]
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0:
        held += ["files"] if only_own_files() else []
        held += ["processes", "network"] if only_own_calls(machine) else []
    return held


def only_own_files() -> bool:
    """Landlock: reads Python and this folder, writes this folder (https://docs.kernel.org/userspace-api/landlock.html)."""
    version = libc.syscall(LANDLOCK_CREATE, None, 0, 1)
    if version < 1:
        return False
    everything = (1 << LANDLOCK_BITS.get(version, 16)) - 1
    rules = libc.syscall(LANDLOCK_CREATE, struct.pack("Q", everything), 8, 0)
    if rules < 0:
        return False
    roots = {sys.prefix, sys.base_prefix, "/usr", "/lib", "/lib64", *sys.path} - {""}
    reading = dict.fromkeys(roots, READ_FILE | READ_FOLDER) | dict.fromkeys(("/dev/null", "/dev/urandom"), READ_FILE)
    for path, access in {**reading, os.getcwd(): everything}.items():
        if os.path.exists(path):
            opened = os.open(path, os.O_PATH)
            allowed = access if os.path.isdir(path) else access & READ_FILE
            libc.syscall(LANDLOCK_ADD, rules, 1, struct.pack("<Qi", allowed, opened), 0)
            os.close(opened)
    return bool(libc.syscall(LANDLOCK_RESTRICT, rules, 0) == 0)


def only_own_calls(machine: str) -> bool:
    """Seccomp: no sockets, processes, programs or signals; threads stay (https://man7.org/linux/man-pages/man2/seccomp.2.html)."""

    def step(code: int, value: int, yes: int = 0, no: int = 0) -> bytes:
        return struct.pack("HBBI", code, yes, no, value)

    load, equal, at_least, any_bit, give = 0x20, 0x15, 0x35, 0x45, 0x06
    steps = [step(load, 4), step(equal, ARCHITECTURES[machine], yes=1), step(give, KILLED), step(load, 0)]
    steps += [step(at_least, X32, no=1), step(give, KILLED)]
    for number in REFUSED[machine]:
        steps += [step(equal, number, no=1), step(give, REFUSE)]
    steps += [step(equal, CLONE3, no=1), step(give, NOT_THERE)]
    steps += [step(equal, CLONE[machine], no=3), step(load, 16), step(any_bit, CLONE_THREAD, yes=1), step(give, REFUSE)]
    program = ctypes.create_string_buffer(b"".join([*steps, step(give, PERMITTED)]))
    head = ctypes.create_string_buffer(struct.pack("HxxxxxxP", len(steps) + 1, ctypes.addressof(program)))
    return bool(libc.prctl(PR_SET_SECCOMP, 2, head, 0, 0) == 0)


if __name__ == "__main__":
    main()
