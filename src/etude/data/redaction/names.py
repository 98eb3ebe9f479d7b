"""People's names: runs of capitalised words judged by name lists, titles, the words around them, and name endings.

Lists know some 45,000 names; others are found by their neighbours ("Dear …", "… said") or their form (`-ović`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from etude.data.redaction.gazetteer import first_names, is_word, last_names, listed, places
from etude.data.redaction.spans import Place

TOKEN = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*(?:(?<=\b[^\W\d_])\.)?")
CONTRACTED = re.compile(r"\w{1,2}['’][a-z]|\w+n['’]t$|\w+['’](?:re|ve|ll|d|m)$")
POSSESSIVE = re.compile(r"['’][sS]$")
TITLES = listed(
    "mr mrs ms miss mx dr prof professor sir madam lady lord herr frau monsieur madame señor señora sr "
    "sra signor signora judge justice officer detective sergeant sgt captain capt colonel major "
    "lieutenant lt general president senator representative congressman minister chancellor governor "
    "mayor pastor father sister brother rabbi imam nurse doctor attorney counsel uncle aunt auntie"
)
SUFFIXES = listed("jr sr ii iii iv md phd esq dds dvm rn cpa jd mba obe cbe")
PARTICLES = listed(
    "van von de da di del della du des la le der den ten ter dos das al el bin ibn af zu y e mac mc st san santa"
)
CALENDAR = listed(
    "january february march april may june july august september october november december monday tuesday "
    "wednesday thursday friday saturday sunday christmas easter god jesus english french german spanish "
    "christian islam"
)
RELATIVES = (
    "partner|husband|wife|father|mother|dad|mom|mum|son|daughter|brother|sister|friend|boss|manager|colleague|boyfriend|girlfriend|uncle|aunt"
    "|cousin|neighbou?r|accountant|lawyer|attorney|teacher|doctor|client|patient|customer|assistant|landlord|tenant"
)
GAP = r"[\s,:;\"“”'!?>*_-]{1,6}$"
CUES = re.compile(
    rf"\b(?:(?:my|our|his|her|their|your|the|last|first|full|middle|maiden|given|family|account holder"
    rf"|{RELATIVES})(?:['’]s)? names?(?: is| was|:|\?|['’]s)?"
    rf"|name(?: is|:)|named|nicknamed|dear|regards|sincerely|cheers|signed|yours(?: truly)?|attn|c/o"
    rf"|call(?:s|ed)? me|(?:thanks|thank you),?"
    rf"|(?:ask for|sp[eo]a?ke? (?:to|with)|talk(?:ed|ing)? (?:to|with)|follow up with|meet(?:ing)? with"
    rf"|assistant to|tribute to|verses from|account of|written by|directed by"
    rf"|produced by|composed by|sung by|painted by|signed by|sent by|prescribed by|reviewed by"
    rf"|(?:up )?under|leave me|heard)"
    rf"|(?:my|our|his|her|their|your)(?: \w+)? (?:{RELATIVES})|patient|plaintiff|defendant|witness|guardian"
    rf"|tenant|said|says|told|asked|replied"
    rf"|producer|singer|songwriter|author|commenter|director|actor|actress|artist|recipient|beneficiary"
    rf"|(?:founders|members|children|kids|friends|attendees|participants|guests|names|players|authors):"
    rf"|(?:card|account )?holder){GAP}",
    re.IGNORECASE,
)
WEAK_CUES = re.compile(
    rf"\b(?:to|with|and|by|from|i['’]?m|i am|this is|it['’]?s|add|given|met|love|called|hi|hello|hey|client"
    rf"|customer|employee|contact|owner|than|like|early|unlike(?: the)?){GAP}",
    re.IGNORECASE,
)
AFTER = re.compile(
    r"^(?::\s?[\"“]|['’]s (?:kid|killers?|wife|husband|daughter|son|mother|father|brother|sister|address"
    r"|phone|number|email|house|car|account|birthday|mom|dad|boss|novel|song|concert|guardian|version)"
    r"|,? (?:said|says|told|asked|replied|wrote|writes|explained|explains|argued|lives|lived|was born"
    r"|is a \d|grew up|flew|spent|began|speak|sings?|sang|had given|points out|joined"
    r"|called me|texted|emailed|married|died|retired|listed|thinks|thought|novel|concert|is (?:the CEO"
    r"|a very|so|my|our|his|her))\b)",
)
APPOSITION = re.compile(r"^(?:['’]s\b|, (?:the|a|an|our|my|who|whose) |,? (?:from|of) [^\W\d_a-z])")
PLACED = re.compile(r"\b(?:in|at|from|near|to|of|visit(?:ed|ing)?)(?: the)? $", re.IGNORECASE)
ENDINGS = re.compile(
    r"(?:ov|ova|ev|eva|sk[iy]|ska|czyk|wicz|ów|vich|vi[cćč]|[iu][ćč]|sson|ssen|[dn]sen|dóttir|[aeiou]ez"
    r"|ián|y?an|shvili|adze|enko|chuk|poulos|idis|akis|escu|eanu|inen|onen|mann|stein|berger|"
    r"quist|strøm|ström|gaard|yan|oğlu|zade|nejad|pour|ssou|wala|jee|ani|ini|etti|elli|ucci|eira|inho|ães"
    r"|[aeiou]lho|áth?y|ffy|czi|nyi)$"
)
PEOPLES = listed(
    "afghan african albanian algerian american arab arabian argentinian armenian asian australian "
    "austrian belgian bolivian brazilian british bulgarian cambodian canadian catalan catholic caucasian "
    "chilean chinese colombian croatian cuban czech danish dane dutch egyptian eritrean estonian "
    "ethiopian european finnish georgian ghanaian greek haitian hawaiian hebrew hindi hindu hispanic "
    "hungarian icelandic indian indonesian iranian iraqi irish israeli italian jamaican japanese jew "
    "jewish jordanian kenyan korean kurd kurdish kuwaiti latin latino latina latvian lebanese libyan "
    "lithuanian malaysian maltese mexican mongolian moroccan mormon muslim nepali nigerian norwegian "
    "pakistani palestinian peruvian polish portuguese protestant romanian roman russian saudi scottish "
    "scot serbian sikh slovak slovenian somali spaniard swede swedish swiss syrian taiwanese thai "
    "tunisian turk turkish ukrainian venezuelan vietnamese welsh yemeni buddhist"
)
LONGEST = 6


@dataclass(frozen=True, slots=True)
class Word:
    """A word of the text and what is known of it."""

    text: str
    start: int
    stop: int
    begins: bool
    """Whether it begins a sentence, so that its capital says nothing."""

    @property
    def lower(self) -> str:
        return self.text.lower().rstrip(".")

    @property
    def is_capital(self) -> bool:
        return self.text[0].isupper()

    @property
    def is_initial(self) -> bool:
        return len(self.text.rstrip(".")) == 1 and self.is_capital and self.text not in ("I", "A")

    @property
    def is_name(self) -> bool:
        parts = (self.lower, *self.lower.split("-"))
        return any(part in first_names() or part in last_names() for part in parts)

    @property
    def is_common(self) -> bool:
        return (
            is_word(self.lower)
            or self.lower in CALENDAR
            or self.lower.removesuffix("s") in PEOPLES
            or CONTRACTED.match(self.text) is not None
        )

    @property
    def is_strong(self) -> bool:
        """A name that is nothing else."""
        is_only_name = self.is_name and not self.is_common and self.lower not in places()
        return is_only_name and len(self.lower) > 2 and not self.is_short_caps

    @property
    def is_short_caps(self) -> bool:
        """What is more often an abbreviation."""
        return self.text.isupper() and len(self.text) < 5

    @property
    def is_unknown(self) -> bool:
        """No word of the language, no place, no abbreviation."""
        long = len(self.lower) > 2
        return long and not self.is_common and self.lower not in places() and not self.is_short_caps


def names(text: str) -> Iterator[Place]:
    """Full names, first or last names alone, with their suffixes (Jr., MD) and without titles (Mr.)."""
    words = _words(text)
    shouting = sum(word.is_capital for word in words) > 0.6 * len(words) and len(words) > 4
    found: set[str] = set()
    sure: list[Place] = []
    for run in _runs(words, text):
        for piece in _judged(run, text, shouting):
            sure.append(piece)
            found.update(text[piece[0] : piece[1]].split())
    sure += _listed(words, text, sure)
    yield from sure
    yield from _again(words, found, sure)
    yield from _lower(words, text)


def _words(text: str) -> list[Word]:
    words = []
    for match in TOKEN.finditer(text):
        lead = text[max(0, match.start() - 40) : match.start()].rstrip(" \t\"“”'‘’(>*_-")
        found = POSSESSIVE.sub("", match[0])
        words.append(Word(found, match.start(), match.start() + len(found), not lead or lead[-1] in ".!?\n|"))
    return words


def _runs(words: Sequence[Word], text: str) -> Iterator[list[Word]]:
    """Capitalised words that stand together, particles between them included."""
    run: list[Word] = []
    for word in words:
        gap = text[run[-1].stop : word.start] if run else ""
        joined = bool(run) and gap in (" ", ". ") and (gap == " " or run[-1].lower in TITLES)
        if joined and (word.is_capital or (word.lower in PARTICLES and len(run) < LONGEST)):
            run.append(word)
            continue
        if run:
            yield _trimmed(run)
        run = [word] if word.is_capital else []
    if run:
        yield _trimmed(run)


def _trimmed(run: list[Word]) -> list[Word]:
    while run and not run[-1].is_capital:
        run = run[:-1]
    return run


def _judged(run: list[Word], text: str, shouting: bool) -> Iterator[Place]:
    titled = False
    while run and run[0].lower in TITLES and len(run) > 1:
        run, titled = run[1:], True
    if not titled:
        run = _without_lead(run)
    run = _without_tail(run)
    if run and len(run) <= LONGEST and _is_person(run, text, titled, shouting):
        yield run[0].start, run[-1].stop


def _without_lead(run: list[Word]) -> list[Word]:
    """Without the words that begin a sentence and are no names ("Did Ann …")."""
    while (
        run
        and run[0].is_common
        and (
            not run[0].is_name
            or (run[0].begins and len(run) > 1 and run[1].is_strong and run[0].lower not in first_names())
        )
    ):
        run = run[1:]
    return run


def _without_tail(run: list[Word]) -> list[Word]:
    """Without common words behind a name; a single one after a first name is the family name ("Donald Trump")."""
    while run and run[-1].is_common and not run[-1].is_name and run[-1].lower not in SUFFIXES:
        if (
            len(run) == 2
            and run[0].is_strong
            and run[0].lower in first_names()
            and run[1].lower not in CALENDAR | PEOPLES
        ):
            return run
        run = run[:-1]
    return run


def _is_person(run: list[Word], text: str, titled: bool, shouting: bool) -> bool:
    lead, tail = text[max(0, run[0].start - 40) : run[0].start], text[run[-1].stop : run[-1].stop + 24]
    if any(word.is_common and not word.is_name for word in run[:-1]):
        return False
    if titled:
        return any(word.is_name or word.is_unknown for word in run)
    if len([word for word in run if word.lower not in SUFFIXES]) == 1:
        return _is_single(run[0], lead, tail, shouting)
    return _is_full(run, lead, tail)


def _is_full(run: list[Word], lead: str, tail: str) -> bool:
    """Two words and more."""
    if " ".join(word.lower for word in run) in places():
        return False
    if run[0].is_strong and run[0].lower in first_names() and len(run) == 2:
        return True
    plain = [
        word for word in run if word.is_unknown or word.is_name or word.is_initial or word.lower in PARTICLES | SUFFIXES
    ]
    if len(plain) < len(run):
        return False
    if run[0].lower in first_names() and len(run) == 2 and not run[0].begins and not run[1].is_common:
        return True
    known, strong = sum(word.is_name for word in run), sum(word.is_strong for word in run)
    if any(word.is_initial for word in run[1:-1]) or (strong and (run[0].lower in first_names() or known > 1)):
        return True
    if strong or ENDINGS.search(run[-1].lower):
        return True
    told = _told(lead, tail) + (APPOSITION.match(tail) is not None)
    return told >= 1 or (known > 0 and told > 0)


def _told(lead: str, tail: str) -> float:
    """How much the words around a run speak for a person."""
    cue = 1.0 if CUES.search(lead) else 0.5 if WEAK_CUES.search(lead) else 0.0
    return cue + 2 * (AFTER.match(tail) is not None)


def _is_single(word: Word, lead: str, tail: str, shouting: bool) -> bool:
    if PLACED.search(lead) and (word.lower in places() or not word.is_strong):
        return False
    told = _told(lead, tail)
    if word.is_strong:
        return word.lower in first_names() or told > 0 or (not word.begins and not shouting)
    if word.is_unknown:
        ends_so = len(word.lower) > 5 and ENDINGS.search(word.lower) is not None
        return (told >= 1 and not shouting) or (ends_so and (told > 0 or not word.begins))
    is_ambiguous = word.is_name and word.lower not in CALENDAR
    return is_ambiguous and told >= (1 if word.lower in first_names() else 2)


def _listed(words: Sequence[Word], text: str, sure: Sequence[Place]) -> Iterator[Place]:
    """What stands in one list with a name: "Kónya, Becker and White"."""
    names = [place for place, word in enumerate(words) if any(start <= word.start < stop for start, stop in sure)]
    taken = set(names)
    for place in names:
        for step in (1, -1):
            at = place + step
            while 0 <= at < len(words) and at not in taken and _is_beside(words, text, at, at - step):
                if words[at].lower != "and":
                    yield words[at].start, words[at].stop
                taken.add(at)
                at += step


def _is_beside(words: Sequence[Word], text: str, at: int, known: int) -> bool:
    """Whether the word at one place stands in a list with the one at the other, and could be a name."""
    word, left, right = words[at], words[min(at, known)], words[max(at, known)]
    gap = text[left.stop : right.start]
    if word.text in ("and", "&", "or"):
        return gap == " " and 0 < at < len(words) - 1 and words[at + (at - known)].is_capital
    is_listed = gap == ", " or (gap == " " and words[known].text in ("and", "or"))
    return is_listed and word.is_capital and (word.is_name or word.is_unknown) and word.lower not in CALENDAR | places()


def _again(words: Sequence[Word], found: set[str], sure: Sequence[Place]) -> Iterator[Place]:
    """Further mentions of a name's parts."""
    taken = set(sure)
    for word in words:
        inside = any(start <= word.start < stop for start, stop in taken)
        if word.text in found and len(word.text) > 2 and not word.is_common and not inside:
            yield word.start, word.stop


def _lower(words: Sequence[Word], text: str) -> Iterator[Place]:
    """Names that someone typed without capitals: after words that announce one, or where no capital stands at all."""
    no_capitals = text.islower()
    taken = -1
    for at, word in enumerate(words):
        if word.is_capital or word.start < taken or not _could_be_lower(word):
            continue
        lead, tail = text[max(0, word.start - 40) : word.start], text[word.stop : word.stop + 24]
        is_sure = word.is_strong and word.lower in first_names() and (no_capitals or CUES.search(lead) is not None)
        if is_sure or (CUES.search(lead) and len(word.lower) > 4) or AFTER.match(tail):
            stop = at + 1
            while (
                stop < len(words)
                and text[words[stop - 1].stop : words[stop].start] in (" ", ". ")
                and _continues(words, stop)
            ):
                stop += 1
            taken = words[stop - 1].stop
            yield word.start, taken


def _could_be_lower(word: Word) -> bool:
    return len(word.lower) > 3 and word.is_unknown and (word.is_name or bool(ENDINGS.search(word.lower)))


def _continues(words: Sequence[Word], at: int) -> bool:
    """Whether a lower-case word goes on with the name before it: another name, or an initial with one behind."""
    word = words[at]
    is_initial = len(word.lower) == 1 and word.lower not in "ai"
    if is_initial or word.lower in PARTICLES:
        return at + 1 < len(words) and not words[at + 1].is_common
    return word.is_unknown and not word.is_capital
