"""A folder goes to a hub on loopback that speaks the real one's protocol: what it holds then, and when it refuses."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from tests.exporting.hub_server import CREATE, LOGIN, REPOSITORY, Hub, hub_on_loopback

if TYPE_CHECKING:
    from pathlib import Path

PUSH = """
import sys
from pathlib import Path
from etude.errors import EtudeError
from etude.exporting.hub import push_folder, require_login
try:
    require_login(sys.argv[2])
    print(push_folder(Path(sys.argv[1]), sys.argv[2]))
except EtudeError as error:
    sys.exit(f"refused: {error}")
"""


def pushed(folder: Path, hub: Hub, **env: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **hub.environment, **env}
    return subprocess.run(
        [sys.executable, "-c", PUSH, str(folder), REPOSITORY],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def exported(folder: Path) -> dict[str, bytes]:
    files = {
        "README.md": b"# Tuned\n",
        "adapter/adapter_config.json": b"{}\n",
        "weights.safetensors": bytes(range(256)) * 40,
    }
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(content)
    return files


def test_a_hub_holds_what_the_folder_held_and_nobody_else_sees_it(tmp_path: Path) -> None:
    files = exported(tmp_path)
    with hub_on_loopback() as hub:
        done = pushed(tmp_path, hub)
        assert done.returncode == 0, done.stderr
        assert done.stdout.strip() == f"{hub.url}/{REPOSITORY}"
    assert hub.files == files
    assert (hub.made["name"], hub.made["organization"], hub.made["visibility"]) == ("tuned", "somebody", "private")
    assert hub.message == "Exported by Etude"
    assert hub.token == "Bearer hf_secret"


@pytest.mark.parametrize(
    ("refuses", "says", "remedy"),
    [
        ({LOGIN: 401}, "Invalid user token", "log in with `hf auth login`"),
        ({CREATE: 403, f"/api/models/{REPOSITORY}": 404}, "403", f"`hf upload {REPOSITORY} "),
    ],
)
def test_a_hub_that_refuses_is_told_in_a_line(tmp_path: Path, refuses: dict[str, int], says: str, remedy: str) -> None:
    exported(tmp_path)
    with hub_on_loopback(refuses=refuses) as hub:
        done = pushed(tmp_path, hub)
    assert done.returncode == 1
    (line,) = done.stderr.strip().splitlines()
    assert line.startswith(f"refused: {REPOSITORY}: the hub did not take it (")
    assert says in line
    assert remedy in line
    assert hub.files == {}


def test_a_hub_that_is_not_there_or_switched_off_is_told_at_once(tmp_path: Path) -> None:
    exported(tmp_path)
    with hub_on_loopback() as hub:
        pass
    gone = pushed(tmp_path, hub)
    assert gone.returncode == 1
    assert gone.stderr.startswith(f"refused: {REPOSITORY}: the hub did not take it (")
    off = pushed(tmp_path, hub, HF_HUB_OFFLINE="1")
    assert off.returncode == 1
    assert "the hub is switched off (HF_HUB_OFFLINE)" in off.stderr
