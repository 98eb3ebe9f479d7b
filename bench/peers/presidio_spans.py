"""Presidio's analyzer on texts from stdin, one JSON string a line; runs in an environment of its own."""

import json
import sys

from presidio_analyzer import AnalyzerEngine
from presidio_analyzer.nlp_engine import NlpEngineProvider


def main() -> None:
    """Writes each text's spans as [start, stop, entity, score]; overlaps resolved as Presidio's anonymizer would."""
    model = sys.argv[1]
    settings = {"nlp_engine_name": "spacy", "models": [{"lang_code": "en", "model_name": model}]}
    engine = NlpEngineProvider(nlp_configuration=settings).create_engine()
    analyzer = AnalyzerEngine(nlp_engine=engine, supported_languages=["en"])
    for line in sys.stdin:
        found = analyzer.analyze(json.loads(line), language="en")
        print(json.dumps([[span.start, span.end, span.entity_type, span.score] for span in found]), flush=True)


if __name__ == "__main__":
    main()
