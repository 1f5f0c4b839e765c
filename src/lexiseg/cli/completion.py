"""Completion for shells: commands first, then the options that a command's own help lists, and files."""

from lexiseg.cli import COMMANDS
from lexiseg.core.errors import UnknownNameError

_BASH = """_lexiseg() {{
  local word="${{COMP_WORDS[COMP_CWORD]}}"
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "{commands}" -- "$word"))
  elif [[ "$word" == -* ]]; then
    local options="$(lexiseg "${{COMP_WORDS[1]}}" --help 2>/dev/null | grep -oE -- "--[a-z][a-z-]+" | sort -u)"
    COMPREPLY=($(compgen -W "$options" -- "$word"))
  else
    COMPREPLY=($(compgen -f -- "$word"))
  fi
}}
complete -o filenames -F _lexiseg lexiseg"""


def completion(shell: str) -> str:
    """Return the script for a shell: ``bash`` or ``zsh``.

    Raises:
        UnknownNameError: There is none for that shell.
    """
    scripts = {"bash": _BASH, "zsh": "autoload -U +X bashcompinit && bashcompinit\n" + _BASH}
    if shell not in scripts:
        raise UnknownNameError.of("shell", shell, scripts)
    return scripts[shell].format(commands=" ".join(COMMANDS))
