"""Shell completion: `genaudit --completion bash` prints a script, which asks `genaudit --complete LINE` for candidates.

Verbs, their keys, the options of a group (`metric=[as,fd`, `feature_model=`) and words that a key may have are
completed; paths are left to the shell. No YAML is loaded and no package imported.
"""

from __future__ import annotations

from pathlib import Path

from genaudit.errors import UserError
from genaudit.hydra_words import known_keys
from genaudit.verbs import VERBS

SWITCHES = ("--help", "--quiet", "--json", "--multirun", "--cfg", "--info", "--config-dir")
VALUES = {
    "device": ("auto", "cpu", "cuda", "mps"),
    "precision": ("float32", "tf32", "bfloat16", "float16", "float64"),
    "engine": ("auto", "torch", "openvino"),
    "on_error": ("fail", "skip"),
    "mode": ("fixed", "sequential"),
    "scale": ("laptop", "desk", "paper"),
    **dict.fromkeys(
        ("compile", "progress", "offline", "trust", "skip", "pool", "strict", "equal_n", "absolute"), ("true", "false")
    ),
}
BARE = {
    "list": ("metrics", "feature_models", "presets", "references", "generators", "datasets", "tables"),
    "cache": ("prune", "verify", "compact"),
}
BASH = """\
_genaudit() {
    local line="${COMP_LINE:0:COMP_POINT}" reply last IFS=$'\\n'
    last="${line##*[[:space:]]}"
    COMPREPLY=()
    for reply in $(genaudit --complete "$line" 2>/dev/null); do
        if [[ $last == *=* && $COMP_WORDBREAKS == *=* ]]; then reply="${reply#"${last%=*}="}"; fi
        COMPREPLY+=("$reply")
    done
    if [[ ${#COMPREPLY[@]} -eq 1 && ${COMPREPLY[0]} == *= ]]; then compopt -o nospace 2>/dev/null; fi
}
complete -o default -F _genaudit genaudit
"""
ZSH = "autoload -U +X compinit bashcompinit && compinit && bashcompinit\nCOMP_WORDBREAKS=${COMP_WORDBREAKS//=}\n"
SCRIPTS = {
    "bash": BASH,
    "zsh": ZSH + BASH,
    "fish": "complete -c genaudit -a '(genaudit --complete (commandline -cp))'\n",
}


def script(shell: str) -> str:
    """What a shell's start-up file evaluates.

    Raises:
        UserError: another shell.
    """
    if shell not in SCRIPTS:
        raise UserError(f"--completion prints a script for {', '.join(SCRIPTS)}, not {shell or 'no shell'!r}")
    return SCRIPTS[shell]


def candidates(line: str, configs: Path) -> list[str]:
    """Whole words that the last word of a command line may become, in order.

    >>> candidates("genaudit eva", Path("configs"))
    ['evaluate']
    """
    words = line.split()
    last = "" if not words or line[-1:].isspace() else words.pop()
    if len(words) <= 1:
        return _starting(last, [*VERBS, "--help", "--version"])
    verb = words[1]
    if verb not in VERBS:
        return []
    key, equals, value = last.partition("=")
    if equals:
        return [f"{key}={each}" for each in _values(verb, key, value, configs)]
    if last.startswith("-"):
        return _starting(last, [*SWITCHES, *sorted(VERBS[verb].flags)])
    keys = sorted(f"{each}=" for each in known_keys(configs, verb) - {"hydra", "defaults"})
    return _starting(
        last, [*(BARE.get(verb, ()) if len(words) == 2 else ()), *(keys if last or verb not in BARE else ())]
    )


def _values(verb: str, key: str, value: str, configs: Path) -> list[str]:
    group = key.partition("@")[0]
    folder = configs / group
    files = folder.glob("**/*.yaml" if group == "reference" else "*.yaml") if folder.is_dir() else ()
    options = sorted(path.relative_to(folder).with_suffix("").as_posix() for path in files) or VALUES.get(key, ())
    at = max(value.rfind("["), value.rfind(",")) + 1  # in a list the last entry is completed
    taken = value[:at].strip("[").split(",")
    return [value[:at] + each for each in _starting(value[at:], [each for each in options if each not in taken])]


def _starting(word: str, options: list[str]) -> list[str]:
    return [each for each in options if each.startswith(word)]
