"""Answers from a server that the policy is pushed to: the policy's own, or a clear line of why there are none."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import torch

from etude.endpoints.client import EndpointError
from etude.endpoints.options import VllmOptions
from etude.endpoints.vllm import open_vllm
from etude.errors import ConfigError, EtudeError
from etude.models.loaded import LoadedModel
from etude.sampling.options import SampleOptions
from etude.sampling.written import Here, Served, seed_of
from etude.techniques.lora import LoRA
from etude.techniques.policy import Policy, attach
from tests.sampling.vllm_server import VllmServer, vllm_server
from tests.toy import toy_loaded

PROMPTS = [tuple(range(20, 30)), (40, 41), tuple(range(50, 57))]
END = frozenset({2, *range(300, 330)})


@pytest.fixture
def policy() -> Policy:
    made = attach(LoRA(rank=4), base(), seed=1)
    moved(made, 0.3)
    return made


def moved(policy: Policy, by: float) -> None:
    with torch.no_grad():
        for weight in policy.trainable.values():
            weight.add_(by * torch.randn(weight.shape, generator=torch.Generator().manual_seed(3)))


def base() -> LoadedModel:
    loaded = toy_loaded()
    with torch.no_grad():
        loaded.module.get_input_embeddings().weight.mul_(8)  # a head with something to say
    return loaded


def served(policy: Policy, server: VllmServer, folder: Path, **options: object) -> Served:
    return Served(
        server=open_vllm(VllmOptions(url=server.url, tries=1, **options)),  # type: ignore[arg-type]
        save=partial(policy.technique.save, policy.model),
        folder=folder,
        tokenizer=policy.model.tokenizer,
        end_ids=END,
    )


def test_a_server_s_answers_are_the_newest_policy_s_own(policy: Policy, tmp_path: Path) -> None:
    options = SampleOptions(max_new_tokens=12, temperature=0.9, top_p=0.95, seed=7)
    here = Here(policy, END)
    with vllm_server(base) as server:
        writer = served(policy, server, tmp_path / "served")
        for _ in range(2):
            found = writer(PROMPTS, options, group=3)
            for at, prompt in enumerate(PROMPTS):
                own = here([prompt], SampleOptions(max_new_tokens=12, temperature=0.9, top_p=0.95,
                                                   seed=seed_of(7, at)), group=3)  # fmt: skip
                for mine, its in zip(own, found[3 * at : 3 * at + 3], strict=True):
                    assert (its.tokens, its.text, its.finish) == (mine.tokens, mine.text, mine.finish)
                    assert its.logprobs == pytest.approx(mine.logprobs, abs=1e-5)
            moved(policy, 0.3)
        again = writer(PROMPTS, options, group=3)
        assert [one.tokens for one in again] != [one.tokens for one in found], "the third policy is another"
        assert len(server.loaded) == len(set(server.loaded)) == 3
        assert list(server.adapters) == [server.loaded[-1]], "older ones are unloaded"
        assert [one.name for one in (tmp_path / "served").iterdir()] == [server.loaded[-1]]
        assert {one.finish for one in found} == {"stop", "length"}
        writer(PROMPTS, options, group=3)
        assert len(server.loaded) == 3, "what has not changed is not pushed again"


def test_what_a_killed_run_left_is_unloaded(policy: Policy, tmp_path: Path) -> None:
    options = SampleOptions(max_new_tokens=2, temperature=1.0)
    with vllm_server(base) as server:
        served(policy, server, tmp_path)(PROMPTS[:1], options, group=2)
        served(policy, server, tmp_path)(PROMPTS[:1], options, group=2)
        assert len(server.adapters) == 1, "the same name is loaded anew"
        moved(policy, 0.1)
        served(policy, server, tmp_path)(PROMPTS[:1], options, group=2)
        assert list(server.adapters) == [one.name for one in tmp_path.iterdir()] == server.loaded[-1:]


def test_the_key_is_sent_and_never_shown(policy: Policy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VLLM_KEY", "sesame")
    refused = {"/v1/load_lora_adapter": (401, {"error": "no: sesame"})}
    with vllm_server(base, broken=refused) as server:
        with pytest.raises(EndpointError, match=r"cannot load .* \(status 401: no: \[key\]\)"):
            served(policy, server, tmp_path, key_variable="VLLM_KEY").push()
        assert server.keys == {"Bearer sesame"}
    monkeypatch.delenv("VLLM_KEY")
    with pytest.raises(ConfigError, match="VLLM_KEY is not set"):
        open_vllm(VllmOptions(url="http://127.0.0.1:1/v1", key_variable="VLLM_KEY"))


ANSWER = {"index": 0, "logprobs": {"token_logprobs": [-1.0]}, "token_ids": [7], "prompt_token_ids": list(PROMPTS[1])}


@pytest.mark.parametrize(
    ("path", "told", "says"),
    [
        ("load_lora_adapter", (404, {"detail": "Not Found"}), "VLLM_ALLOW_RUNTIME_LORA_UPDATING"),
        ("load_lora_adapter", (500, {"error": "LoRA rank 4 is greater"}), "LoRA rank 4 is greater.*--max-lora-rank"),
        ("completions", (400, {"error": {"message": "too long"}}), "status 400: too long"),
        ("completions", (200, {"model": "other", "choices": []}), "answered as 'other'"),
        ("completions", (200, {"choices": [{**ANSWER, "token_ids": None}]}), "0.10.2 or later"),
        ("completions", (200, {"choices": [{**ANSWER, "token_ids": [7, 8]}]}), "2 tokens with 1 log-prob"),
        ("completions", (200, {"choices": [{**ANSWER, "prompt_token_ids": [1]}]}), "read another prompt"),
        ("completions", (200, {"choices": [ANSWER, ANSWER]}), "wrote 2 answers where 1 were"),
        ("completions", (200, {"choices": [ANSWER]}), "ends neither at an end token nor at 5"),
        ("completions", (200, "well"), "holds no token ids"),
    ],
)
def test_a_server_that_says_too_little_is_named(
    path: str, told: tuple[int, object], says: str, policy: Policy, tmp_path: Path
) -> None:
    with vllm_server(base) as server:
        writer = served(policy, server, tmp_path)
        status, value = told
        if isinstance(value, dict) and "choices" in value:
            value = {"model": writer.push(), **value}
        server.broken[f"/v1/{path}"] = (status, value)
        with pytest.raises(EtudeError, match=says):
            writer([PROMPTS[1]], SampleOptions(max_new_tokens=5, temperature=1.0), group=1)


def test_no_server_and_settings_that_cannot_be(policy: Policy, tmp_path: Path) -> None:
    with vllm_server(base) as server:
        writer = served(policy, server, tmp_path)
    with pytest.raises(EndpointError, match=r"cannot be reached .*; is the server running\?"):
        writer.push()
    assert VllmOptions(url="http://127.0.0.1:8000").problems()[0][1].startswith("must end in /v1")
    assert [name for name, _ in VllmOptions(url="here/v1", tries=0, seconds=0).problems()] == [
        "url",
        "seconds",
        "tries",
    ]
