"""Words on one line, as people write them: separated by commas, quoted where a name holds a comma."""

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
        words.append(match[2] if match[1] is None else match[1].replace('""', '"'))
        start = match.end() + 1
    return words


def quoted(word: str) -> str:
    """Write a word so that ``split_words`` gives it back."""
    return '"' + word.replace('"', '""') + '"' if set(word) & {",", '"'} else word


def shortened(text: str) -> str:
    """Give the beginning of a text as it can stand in a message."""
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
