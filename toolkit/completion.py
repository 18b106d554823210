"""Shell completion: the scripts, and what they ask for at every press of the TAB key."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from toolkit.errors import ToolkitError, unknown
from toolkit.invocation import OPTIONS, Invocation, formats, members, read

_BASH = r"""# toolkit completion for bash; put this into ~/.bashrc:
#   source <(toolkit completion bash)
_toolkit_complete() {
    local line="${COMP_LINE:0:COMP_POINT}" words=() current
    read -r -a words <<< "$line"
    [[ "$line" == *[[:space:]] ]] && words+=("")
    current="${words[${#words[@]} - 1]}"
    local IFS=$'\n'
    COMPREPLY=($("${1/#\~/$HOME}" completion suggest "${words[@]}" 2>/dev/null))
    # bash takes "=" for the end of a word: give back only what follows the last one
    if [[ "$current" == *=* && "$COMP_WORDBREAKS" == *=* ]]; then
        COMPREPLY=("${COMPREPLY[@]#"${current%"${current##*=}"}"}")
    fi
    [[ "${COMPREPLY[0]}" == *[=.] ]] && compopt -o nospace 2>/dev/null
    return 0
}
complete -o default -F _toolkit_complete toolkit
"""

_ZSH = r"""#compdef toolkit
# toolkit completion for zsh; put this into ~/.zshrc after compinit:
#   source <(toolkit completion zsh)
_toolkit() {
    local -a found
    found=("${(@f)$("${words[1]/#\~/$HOME}" completion suggest \
        "${(@)words[1,CURRENT]}" 2>/dev/null)}")
    if [[ -z "$found" ]]; then
        _files
        return
    fi
    compadd -- ${found:#*[=.]}
    compadd -S '' -- ${(M)found:#*[=.]}
}
compdef _toolkit toolkit
"""

_FISH = r"""# toolkit completion for fish; put this into ~/.config/fish/config.fish:
#   toolkit completion fish | source
function __toolkit_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    $words[1] completion suggest $words "$current" 2>/dev/null
end
complete -c toolkit -f -a '(__toolkit_complete)'
"""

SCRIPTS = {"bash": _BASH, "zsh": _ZSH, "fish": _FISH}

_USAGE = """\
toolkit completion <bash|zsh|fish>

Print the script that completes commands, settings, groups and their choices. To use it:

  bash   source <(toolkit completion bash)     in ~/.bashrc
  zsh    source <(toolkit completion zsh)      in ~/.zshrc, after compinit
  fish   toolkit completion fish | source      in ~/.config/fish/config.fish"""


def complete(words: Sequence[str], commands: Iterable[str]) -> str:
    """Return what ``toolkit completion ...`` prints: a shell's script, or suggestions.

    Args:
        words: A shell's name, or ``suggest`` and the line typed so far, word by word.
        commands: The commands that exist.

    Raises:
        NotFoundError: When there is no script for that shell.
    """
    shell = words[0] if words else "--help"
    if shell == "suggest":
        return "\n".join(suggest(words[2:], commands))
    if shell in ("-h", "--help"):
        return _USAGE
    if shell not in SCRIPTS:
        raise unknown("completion for", shell, SCRIPTS, hint="toolkit completion --help")
    return SCRIPTS[shell].rstrip()


def suggest(words: Sequence[str], commands: Iterable[str]) -> list[str]:
    """Return what the last word may become.

    Args:
        words: The words after the program's name up to the cursor; the last may be empty.
        commands: The commands that exist.
    """
    *before, current = words or [""]
    if not before:
        offers: Iterable[str] = [*(c.partition(" ")[0] for c in commands), "--help", "--version"]
    elif before[0] == "completion":
        offers = SCRIPTS
    elif len(before) == 1 and before[0] not in commands and members(before[0], commands):
        offers = members(before[0], commands)
    elif _lost(before, commands) or before[-1] in ("--config-dir", "--config-path"):
        offers = ()
    elif current.startswith("-"):
        offers = OPTIONS
    else:
        seconds = members(before[0], commands) if len(before) == 1 else ()
        offers = [*seconds, *_overrides(before, current, commands)]
    return sorted({offer for offer in offers if offer.startswith(current)})


def _lost(before: Sequence[str], commands: Iterable[str]) -> bool:
    """Return whether the words begin with no command."""
    return not {before[0], " ".join(before[:2])} & {*commands}


def _overrides(before: Sequence[str], current: str, commands: Iterable[str]) -> Iterator[str]:
    try:
        invocation = read(before, commands)
        catalogue = invocation.catalogue
        settings = catalogue.settings(invocation.primary, invocation.chosen)
    except ToolkitError:
        return
    plus = "+" if current.startswith("+") else ""
    key, equals, value = current.removeprefix("+").partition("=")
    if equals:
        typed = value.rpartition(",")[0]
        head = f"{plus}{key}={typed}," if typed else f"{plus}{key}="
        yield from (head + choice for choice in _choices(key, invocation))
        return
    used = catalogue.used_by(invocation.primary)
    for name in used if any(group.startswith(key) for group in used) else catalogue.groups:
        yield f"{plus}{name}="
    for name in settings:
        if name in catalogue.groups or not name.startswith(key):
            continue
        step, dot, _ = name[len(key) :].partition(".")
        yield key + step + (dot or "=")


def _choices(key: str, invocation: Invocation) -> Iterable[str]:
    groups = invocation.catalogue.groups
    if invocation.command == "list" and key == "what":
        from toolkit.store import KINDS

        return [*groups, *KINDS]
    return formats(invocation.command) if key == "format" else groups.get(key, ())
