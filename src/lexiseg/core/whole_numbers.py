"""The one place that takes text for a whole number: Python's own answers about digits do not fit its ``int``."""

#: Longer ones are names: no label, identifier or count has so many, and Python refuses to read thousands.
MAX_DIGITS = 18


def whole_number(text: str) -> int | None:
    """Return the number that a text of at most ``MAX_DIGITS`` digits is; None for any other text.

    White space around it does not matter.
    """
    digits = text.strip()
    return int(digits) if digits.isdecimal() and len(digits) <= MAX_DIGITS else None
