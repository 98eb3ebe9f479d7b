"""GRPO from a checkable reward alone: SNIPS requests to JSON, with no answer imitated.

Two stages, about three hours on one core: at one rate, then from there on at a falling one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from shutil import copyfile

from bench.pairs import BUILD, OFFLINE, ROOT
from bench.snips import Request, requests

DATA = Path(os.environ.get("ETUDE_DATA", ROOT.parent / "shared" / "data")) / "snips"
ROWS = 800
KEYS = {
    "AddToPlaylist": "playlist, playlist_owner, music_item, artist, entity_name",
    "BookRestaurant": "restaurant_type, restaurant_name, party_size_number, party_size_description, timeRange, city, "
    "state, country, spatial_relation, served_dish, cuisine",
    "GetWeather": "timeRange, city, state, country, condition_temperature, condition_description, geographic_poi",
    "PlayMusic": "artist, track, album, music_item, service, year, sort",
    "RateBook": "object_name, object_select, object_type, rating_value, rating_unit, best_rating",
    "SearchCreativeWork": "object_name, object_type",
    "SearchScreeningEvent": "movie_name, movie_type, object_type, location_name, object_location_type, "
    "spatial_relation",
}
"""The intents, and the slots that more than a tenth of their requests have."""
SYSTEM = "Turn the request into one JSON object: its intent, and the keys that it names.\n" + "\n".join(
    f"{intent}: {keys}" for intent, keys in KEYS.items()
)
SHOWN = (
    ("rate The Bell Jar 3 of 6", "RateBook", {"object_name": "The Bell Jar", "rating_value": "3", "best_rating": "6"}),
    (
        "will it rain in Paris tomorrow",
        "GetWeather",
        {"condition_description": "rain", "city": "Paris", "timeRange": "tomorrow"},
    ),
    ("play Imagine by John Lennon", "PlayMusic", {"track": "Imagine", "artist": "John Lennon"}),
)
RUN_FILE = """
model: smollm2-135m-instruct
data: {train: requests.jsonl, holdout: 0.125}
technique: {kind: lora, rank: 16}
objective: {kind: grpo, kl: 0.02}
rollouts:
  group: 8
  max_new_tokens: 64
  redraw: 1
  rewards: [{kind: python, function: snips_reward.py:slots, lowest: 0, highest: 1}]
training: {batch_rows: 48, learning_rate: 2e-4, heldout_every: 20, save_every: 10}
stages:
  first:
    training: {steps: 100, schedule: constant}
  second:
    model: stage:first
    training: {steps: 60, schedule: linear}
"""


def main() -> None:
    """Trains, and compares the rewards of held-out requests after both stages with those before."""
    folder = BUILD / "grpo-snips"
    folder.mkdir(parents=True, exist_ok=True)
    rows = [json.dumps(_row(request), ensure_ascii=False) for request in requests(DATA, test=False)[:ROWS]]
    (folder / "requests.jsonl").write_text("".join(f"{row}\n" for row in rows), encoding="utf-8")
    (folder / "grpo.yaml").write_text(RUN_FILE, encoding="utf-8")
    copyfile(Path(__file__).with_name("snips_reward.py"), folder / "snips_reward.py")
    etude, run = Path(sys.executable).with_name("etude"), folder / "run"
    command = [str(etude), "train", str(folder / "grpo.yaml"), f"output={run}", "--resume"]
    subprocess.run(command if run.exists() else command[:-1], check=True, env={**os.environ, **OFFLINE})
    tuned, before = run / "second" / "reports" / "reward.jsonl", run / "before.jsonl"
    subprocess.run([str(etude), "compare", str(tuned), str(before)], check=False, env={**os.environ, **OFFLINE})


def _row(request: Request) -> dict[str, list[dict[str, str]]]:
    """A chat with three answered requests in it, then the one to answer; the last message is the reference."""
    chat = [{"role": "system", "content": SYSTEM}]
    for text, intent, slots in (*SHOWN, (request.text, request.intent, dict(request.slots))):
        chat += [{"role": "user", "content": text}, {"role": "assistant", "content": _answer(intent, slots)}]
    return {"messages": chat}


def _answer(intent: str, slots: Mapping[str, str | list[str]]) -> str:
    return json.dumps({"intent": intent, **slots}, ensure_ascii=False)
