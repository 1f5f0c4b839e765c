"""Names and arguments of ``load`` in earlier versions, refused with the new spelling."""

from lexiseg.core.errors import InputError

#: Names and arguments of earlier versions, and what to write instead.
RETIRED = {
    "rim": 'A bank is the model: lexiseg.load("my.bank"), --model my.bank. Build one: lexiseg references build '
    '--words "cat, dog" --source cutouts --from FOLDER --out my.bank.',
    "references": 'Give the bank as the model: load("my.bank").',
    "proposer": 'Write load("my.bank", method_settings={"proposer": "…"}).',
    "method": 'Write load(name, method_settings={"ranking": "cosine"}), with the fields to change.',
}


def retired_spelling(spelling: str, what: str) -> InputError:
    """Return the error that gives the new spelling."""
    return InputError(
        doing="loading a model",
        found=f"{what} {spelling!r}, a spelling of an earlier version",
        expected="one string for the model, and method_settings (--set) for what is changed of its method",
        fix=RETIRED[spelling],
    )
