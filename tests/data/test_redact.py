"""The step: counts without text, keys, and a model as another finder."""

from __future__ import annotations

import json

import pytest

from etude.cli.main import main
from etude.data.inputs import Reading, open_inputs
from etude.data.redact import Redact
from etude.data.work import dropped_of, manifest_of, work
from etude.errors import DataError

PLANTED = (
    "Ann Miller",
    "ann.miller@gmail.com",
    "4111 1111 1111 1111",
    "DE89370400440532013000",
    "123-45-6789",
    "hunter2!x",
)
SECRET = "0123456789abcdef" * 2


@pytest.fixture
def rows(tmp_path):
    path = tmp_path / "rows.jsonl"
    said = f"I am {PLANTED[0]}, {PLANTED[1]}, card {PLANTED[2]}, {PLANTED[3]}, SSN {PLANTED[4]}, password: {PLANTED[5]}"
    good = {"messages": [{"role": "user", "content": said}, {"role": "assistant", "content": f"Hello {PLANTED[0]}"}]}
    lines = [
        json.dumps(good),
        f"broken {said}",
        json.dumps({"messages": [{"role": "user", "content": "2+2?"}, {"role": "assistant", "content": "4"}]}),
    ]
    path.write_text("\n".join(lines) + "\n", "utf-8")
    return path


@pytest.mark.parametrize("fakes", [False, True])
def test_the_originals_are_nowhere(rows, tmp_path, fakes, capfd):
    key = tmp_path / "redact.key"
    key.write_text(SECRET, "utf-8")
    out = tmp_path / "out" / "clean.jsonl"
    more = ["--replace", "surrogate", "--key-file", str(key)] if fakes else []
    assert main(["data", "redact", str(rows), "-o", str(out), *more]) == 0
    written = "".join(path.read_text("utf-8") for path in out.parent.iterdir())
    said = "".join(capfd.readouterr())
    for value in (*PLANTED, "Miller", SECRET):
        assert value not in written
        assert value not in said
    assert len(list(out.parent.iterdir())) == 3


def test_the_manifest_counts_by_kind_and_untouched_rows_stay_as_they_were(rows, tmp_path):
    out = tmp_path / "clean.jsonl"
    outcome = work(open_inputs([rows]), Redact(), out)
    manifest = json.loads(manifest_of(out).read_text("utf-8"))
    found = manifest["notes"]["found"]
    assert found == {"secret": 1, "email": 1, "iban": 1, "card": 1, "national-id": 1, "name": 2}
    assert outcome.changed == {"redacted": 1}
    assert out.read_text("utf-8").splitlines()[1] == rows.read_text("utf-8").splitlines()[2]
    [left_out] = [json.loads(line) for line in dropped_of(out).read_text("utf-8").splitlines()]
    assert left_out.keys() == {"file", "line", "reason", "found"}


def test_fakes_are_the_same_over_files_and_without_the_key_nothing_is_drawn(rows, tmp_path):
    key = tmp_path / "redact.key"
    key.write_text(SECRET, "utf-8")
    step = Redact(replace="surrogate", key_file=str(key))
    for name in ("one.jsonl", "two.jsonl"):
        work(open_inputs([rows]), step, tmp_path / name)
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "two.jsonl").read_bytes()
    key.write_text("short", "utf-8")
    with pytest.raises(DataError, match="5 bytes"):
        work(open_inputs([rows]), step, tmp_path / "three.jsonl")
    key.unlink()
    with pytest.raises(DataError, match="cannot be read"):
        work(open_inputs([rows]), step, tmp_path / "three.jsonl")
    assert not (tmp_path / "three.jsonl").exists()


def test_settings_that_would_be_ignored_are_mistakes():
    assert [name for name, _ in Redact(also=("emial",), keep=("url",), key_file="k").problems()] == [
        "also",
        "keep",
        "key_file",
    ]
    assert [name for name, _ in Redact(replace="surrogate").problems()] == ["key_file"]
    assert Redact(preset="medical", keep=("place",)).problems() == []
    assert "place" not in Redact(preset="medical", keep=("place",)).kinds


def test_a_csv_of_no_known_layout(tmp_path):
    path = tmp_path / "people.csv"
    path.write_text("id,phone,note\n7,5550132,call Giovanna\n", "utf-8")
    work(open_inputs([path], Reading(need_layout=False)), Redact(), tmp_path / "out.jsonl")
    made = json.loads((tmp_path / "out.jsonl").read_text("utf-8"))
    assert made == {"id": "7", "phone": "[PHONE]", "note": "call [NAME]"}


def test_a_token_classification_model_finds_more(tmp_path):
    folder = saved_tagger(tmp_path / "tagger", "zorblax")
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"text": "we saw zorblax again"}) + "\n", "utf-8")
    plain, more = Redact(also=("place",)).redactor(), Redact(also=("place",), ner=str(folder)).redactor()
    assert plain.text("we saw zorblax again")[0] == "we saw zorblax again"
    assert more.text("we saw zorblax again")[0] == "we saw [PLACE] again"
    with pytest.raises(DataError, match="no such folder"):
        Redact(ner=str(tmp_path / "none")).redactor()
    with pytest.raises(DataError, match="no token classification model"):
        Redact(ner=str(tmp_path)).redactor()


def saved_tagger(folder, word):
    """A BERT of one layer whose embedding of one word makes its classifier say LOC."""
    import torch
    from transformers import BertConfig, BertForTokenClassification, BertTokenizerFast

    folder.mkdir()
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "we", "saw", "again", word]
    (folder / "vocab.txt").write_text("\n".join(vocabulary), "utf-8")
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(vocabulary), hidden_size=8, num_hidden_layers=0, num_attention_heads=1, intermediate_size=8,
        id2label={0: "O", 1: "B-LOC"}, label2id={"O": 0, "B-LOC": 1},
    )  # fmt: skip
    model = BertForTokenClassification(config).eval()
    with torch.no_grad():
        for weights in model.parameters():
            weights.zero_()
        model.bert.embeddings.LayerNorm.weight.fill_(1.0)
        model.bert.embeddings.word_embeddings.weight[:, 0] = 1.0
        model.bert.embeddings.word_embeddings.weight[-1] = torch.eye(8)[1]
        model.classifier.weight[0, 0] = model.classifier.weight[1, 1] = 4.0
    model.save_pretrained(folder)
    return folder
