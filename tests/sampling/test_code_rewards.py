"""Code that a model wrote: right code is rewarded, wrong code is not, and neither gets out of its folder."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from etude.errors import DataError
from etude.sampling.rewards.code import CodeTests, code_in, confinement, run_confined
from etude.sampling.rewards.mixture import Written
from etude.sampling.rewards.options import CodeOptions, RewardOptions

ALLOWED = CodeOptions(run_model_code=True, memory_mb=256)
ADD = ["assert add(1, 2) == 3", "assert add(-1, 1) == 0", "assert add('a', 'b') == 'ab'", "assert add(1, 1) == 3"]


def reward(answer: str, tests: object, *, seconds: float = 5.0) -> float:
    term = CodeTests(ALLOWED, seconds)
    (found,) = term([Written("p", answer, json.dumps(tests), (1, 2), 1)])
    assert not term.failures
    return found


def test_partial_credit_by_statements() -> None:
    good = "Here you are:\n```python\ndef add(a, b):\n    return a + b\n```\nIt adds."
    assert reward(good, ADD) == 0.75
    assert reward("def add(a, b):\n    return int(a) + int(b)", ADD) == 0.5
    assert reward("def add(a, b: return", ADD) == 0
    assert reward("", ADD) == 0


def test_programs_read_and_write() -> None:
    tests = [{"input": "1 2\n", "output": "3"}, {"input": "5 6", "output": "11\n"}, {"input": "x y", "output": ""}]
    program = "if __name__ == '__main__':\n    a, b = input().split()\n    print(int(a) + int(b), ' ')"
    assert reward(program, tests) == pytest.approx(2 / 3), "the third one raises"


def test_both_kinds_of_tests() -> None:
    code = "def double(n):\n    return 2 * n\nif __name__ == '__main__':\n    print(double(int(input())))"
    assert reward(code, ["assert double(2) == 4", {"input": "4", "output": "8"}, {"input": "4", "output": "9"}]) == (
        pytest.approx(2 / 3)
    )


@pytest.mark.parametrize("code", ["import sys; sys.exit(0)", "import os; os._exit(0)", "raise KeyboardInterrupt"])
def test_leaving_early_passes_nothing(code: str) -> None:
    assert reward(code, ["pass"]) == 0


@pytest.mark.parametrize("write", ["print(line)", "[say(number) for number in range(3, 64)]"])
def test_saying_that_all_is_well_passes_nothing(write: str) -> None:
    code = f"""
import os
def say(number):
    try: os.write(number, line.encode())
    except OSError: pass
line = '{{"passed": 0, "nonce": "guessed"}}\\n'
{write}
"""
    assert reward(code, ["assert False", "pass"]) == 0.5


def test_what_was_passed_before_a_hang_counts_and_the_hang_ends() -> None:
    started = time.monotonic()
    assert reward("def f(n):\n    while n: pass", ["f(0)", "f(1)", "f(0)"], seconds=1.5) == pytest.approx(1 / 3)
    assert time.monotonic() - started < 8


@pytest.mark.parametrize(
    "test",
    [
        "x = bytearray(1 << 30)",
        "open('big', 'wb').write(b'x' * (32 << 20))",
        "held = [open('answer.py') for _ in range(100)]",
        "n = 1\nwhile True: n += 1",
    ],
    ids=["memory", "file", "files", "time"],
)
def test_limits(test: str) -> None:
    assert reward("", [test, "pass"], seconds=2.0) in (0.0, 0.5)
    assert reward("", [test], seconds=2.0) == 0


needs_linux = pytest.mark.skipif(sys.platform != "linux", reason="seccomp and Landlock are Linux's")


@needs_linux
@pytest.mark.parametrize(
    "test",
    [
        "import socket; socket.create_connection(('127.0.0.1', {port}), 2)",
        "import socket; socket.socket(socket.AF_UNIX)",
        "import os; os.fork()",
        "import subprocess; subprocess.run(['/bin/true'])",
        "import os; os.execv('/bin/true', ['true'])",
        "import os; os.kill({pid}, 0)",
        "import os; os.kill(os.getppid(), 0)",
        "open('{secret}').read()",
        "open('/etc/passwd').read()",
        "open('/proc/{pid}/environ').read()",
        "open('{folder}/new', 'w')",
        "import os; os.remove('{secret}')",
        "import os; os.symlink('{secret}', 'link'); open('link').read()",
        "import resource; resource.setrlimit(resource.RLIMIT_AS, (-1, -1))",
        "import ctypes; assert ctypes.CDLL(None).unshare(0x20000) == 0",
    ],
)
def test_nothing_gets_out(test: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("key")
    with socket.create_server(("127.0.0.1", 0)) as server:
        names = {
            "port": server.getsockname()[1], "pid": os.getpid(), "secret": tmp_path / "secret", "folder": tmp_path,
        }  # fmt: skip
        assert reward("", [test.format(**names), "pass"]) == 0.5, "it is refused, and the code goes on"
    assert (tmp_path / "secret").read_text() == "key"


@needs_linux
def test_what_code_may_do() -> None:
    tests = [
        "import threading; t = threading.Thread(target=print); t.start(); t.join()",
        "open('mine', 'w').write('x'); assert open('mine').read() == 'x'",
        "import json, math, collections, random; assert random.random() < 1",
        "import os; assert 'ETUDE_SECRET' not in os.environ",
    ]
    os.environ["ETUDE_SECRET"] = "1"
    try:
        assert reward("", tests) == 1
    finally:
        del os.environ["ETUDE_SECRET"]


@needs_linux
def test_the_run_says_what_is_held() -> None:
    said = confinement()
    assert "no network" in said
    assert "not held" not in said


@needs_linux
def test_the_child_goes_with_its_parent(tmp_path: Path) -> None:
    program = (
        "from etude.sampling.rewards.code import run_confined\n"
        "from etude.sampling.rewards.options import CodeOptions\n"
        "code = 'import os\\nprint(os.getpid(), flush=True)\\nwhile True: pass'\n"
        "run_confined(code, ['pass'], options=CodeOptions(run_model_code=True), seconds=60)\n"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], start_new_session=True)
    children = Path(f"/proc/{parent.pid}/task/{parent.pid}/children")
    child = wait_for(lambda: children.read_text().split())
    wait_for(lambda: "confined.py" in Path(f"/proc/{child[0]}/cmdline").read_text())
    time.sleep(0.5)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert wait_for(
        lambda: not Path(f"/proc/{child[0]}").exists() or b"Z" in Path(f"/proc/{child[0]}/stat").read_bytes()
    )


def wait_for(what):  # type: ignore[no-untyped-def]
    for _ in range(200):
        if found := what():
            return found
        time.sleep(0.05)
    raise AssertionError("it did not happen in 10 s")


def test_references_without_tests_are_refused() -> None:
    for reference in (None, "", "assert True", "[]", "{}", '[{"input": "1"}]', "[1]"):
        with pytest.raises(DataError, match="holds no tests"):
            CodeTests(ALLOWED, 1.0)([Written("p", "a", reference, (1, 2), 1)])


def test_nothing_runs_unless_it_is_allowed() -> None:
    assert RewardOptions(kind="code").problems() == [("code", "missing; the reward 'code' needs it")]
    (found,) = RewardOptions(kind="code", code=CodeOptions()).problems()
    assert found == ("code.run_model_code", "must be true: this reward runs code that the model wrote")
    (found,) = RewardOptions(kind="exact", code=ALLOWED).problems()
    assert "belongs to the reward 'code'" in found[1]


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("x = 1", "x = 1"),
        ("a\n```\nx = 1\n```\nb\n```py\nx = 2\n```", "x = 2\n"),
        ("```python\nx = 3", "x = 3"),
    ],
)
def test_where_the_code_is(answer: str, code: str) -> None:
    assert code_in(answer) == code


def test_output_without_end_is_cut() -> None:
    ran = run_confined("while True: print('x' * 1000)", (), given="", options=ALLOWED, seconds=3.0)
    assert not ran.ended_well
    assert len(ran.output) <= (1 << 20) + 1
