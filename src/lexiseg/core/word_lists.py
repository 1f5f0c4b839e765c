"""Class names as people write them on one line: separated by commas, and by nothing else in silence."""

import re

from lexiseg.core.errors import VocabularyError

# A quoted name (a doubled quote inside stands for one), or anything up to the next comma.
_WORD = re.compile(r'\s*(?:"((?:[^"]+|"")*+)"\s*|((?!\s*")[^,]*))(?=,|\Z)')
_LINE_BREAK = re.compile("\r\n|\r|\n")


def split_words(line: str) -> list[str]:
    """Split a line at its commas; double quotes around a whole name protect the commas in it.

    Raises:
        VocabularyError: It is several lines, or a quotation does not close where a name ends.
    """
    line = line.strip()
    if not line:
        return []
    _refuse_program_text(line)
    num_lines = len(_LINE_BREAK.split(line))
    if num_lines > 1:
        raise VocabularyError(
            doing=f"reading the words {shortened(line)}",
            found=f"{num_lines} lines",
            expected="one line of names separated by commas",
            fix="Put the names into a file, one a line, and give it with --classes-file (Vocabulary.from_file in Python).",
        )
    words, start = [], 0
    while start <= len(line):
        match = _WORD.match(line, start)
        if match is None:
            raise _unquotable(line, line[start:].lstrip())
        if match[1] is None:
            refuse_other_separators(match[2])
        words.append(match[2] if match[1] is None else match[1].replace('""', '"'))
        start = match.end() + 1
    return words


def quoted(word: str) -> str:
    """Write a word so that ``split_words`` gives it back."""
    return '"' + word.replace('"', '""') + '"' if set(word) & {",", '"'} else word


def shortened(text: str) -> str:
    """Return the beginning of a text as it can stand in a message."""
    return repr(text if len(text) <= 40 else text[:40] + "…")


def _unquotable(line: str, rest: str) -> VocabularyError:
    closed = re.match(r'"(?:[^"]+|"")*+"', rest)
    if closed is None:
        found, fix = (
            f"a quotation that does not close: {shortened(rest)}",
            "Close it, or leave the quotes away.",
        )
    else:
        after = rest[closed.end() :].partition(",")[0].strip()
        found = f"{shortened(after)} after the quotation {shortened(closed[0])}, before the next comma"
        fix = "Put a comma between the two names, or the quotes around the whole name."
    return VocabularyError(
        doing=f"reading the words {shortened(line)}",
        found=found,
        expected='names separated by commas, with double quotes only around a whole name: "salt, pepper", cat',
        fix=fix,
    )


#: What separates words elsewhere: programs, other languages. A comma of ASCII is the only one here.
_OTHER_SEPARATORS = re.compile(r"[;|，、；،؛]|\s·\s")
#: Text prompts of Grounding DINO and GLIP: "cat. sofa." and "cat . sofa".
_DOTTED = re.compile(r"[^.]+(?:\s*\.\s+[^.]+)+\s*\.|[^.]+(?:\s+\.\s+[^.]+)+\.?")


def refuse_other_separators(word: str) -> None:
    """Refuse one unquoted word that is several, separated by something else than commas.

    Raises:
        VocabularyError: It is; the message has the same words with commas.
    """
    parts = _OTHER_SEPARATORS.split(word)
    if len(parts) == 1 and _DOTTED.fullmatch(word.strip()):
        parts = word.split(".")
    parts = [part.strip() for part in parts if part.strip()]
    if len(parts) > 1:
        raise VocabularyError(
            doing=f"reading the words {shortened(word)}",
            found=f"{len(parts)} names separated by something else than commas",
            expected="names separated by commas on a line, or one a line in a file",
            fix=f"Write {shortened(', '.join(parts))}. Double quotes keep a name as it is.",
        )


def _refuse_program_text(line: str) -> None:
    if (line[0], line[-1]) in (("[", "]"), ("{", "}"), ("(", ")")) and set(line) & {",", "'", '"'}:
        raise VocabularyError(
            doing=f"reading the words {shortened(line)}",
            found="a list as a program writes it",
            expected="names separated by commas: cat, grass, sky",
            fix="Leave the brackets and quotes away, or put JSON into a file and give it with --classes-file.",
        )
