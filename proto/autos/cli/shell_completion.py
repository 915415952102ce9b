"""`autos completion SHELL`: a script that completes commands, options and their values."""

from __future__ import annotations

import argparse
import shlex
from collections.abc import Callable, Iterator

Commands = dict[str, argparse.ArgumentParser]

# The last word and the one before it decide; files complete where nothing else does.
_BASH = """\
_autos() {{
  local current=${{COMP_WORDS[COMP_CWORD]}} former=${{COMP_WORDS[COMP_CWORD-1]}} words=
  case ${{COMP_WORDS[1]}}:$former in
{values}
    *)
      if [ "$COMP_CWORD" -eq 1 ]; then
        words={commands}
      elif [ "${{current#-}}" != "$current" ]; then
        case ${{COMP_WORDS[1]}} in
{options}
        esac
      fi ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _autos autos
"""
_ZSH = "autoload -U +X bashcompinit && bashcompinit\n"


def script(shell: str, root: argparse.ArgumentParser) -> str:
    """Return the script for `shell`, derived from the parser of the command line."""
    return SHELLS[shell](_commands(root), root)


def _bash(commands: Commands, root: argparse.ArgumentParser) -> str:
    values = "\n".join(
        f"    {name}:{flag}) words={shlex.quote(' '.join(action.choices))} ;;"
        for name, parser in commands.items()
        for action in _actions(parser)
        if action.choices
        for flag in action.option_strings or [name]
    )
    options = "\n".join(
        f"          {name}) words={shlex.quote(' '.join(_flags(parser)))} ;;"
        for name, parser in commands.items()
    )
    return _BASH.format(
        values=values,
        options=options,
        commands=shlex.quote(" ".join([*commands, *_flags(root)])),
    )


def _zsh(commands: Commands, root: argparse.ArgumentParser) -> str:
    return _ZSH + _bash(commands, root)


def _fish(commands: Commands, root: argparse.ArgumentParser) -> str:
    lines = [
        f"complete -c autos -f -n __fish_use_subcommand -a {name} -d {_text(parser.description)}"
        for name, parser in commands.items()
    ]
    lines += [_fish_line("__fish_use_subcommand", action) for action in _actions(root)]
    for name, parser in commands.items():
        seen = f"'__fish_seen_subcommand_from {name}'"
        lines += [_fish_line(seen, action) for action in _actions(parser)]
    return "\n".join(filter(None, lines)) + "\n"


def _fish_line(condition: str, action: argparse.Action) -> str:
    """Return the line of an option, or of the values of an argument; empty if there is neither."""
    flags = (
        f"-l {flag[2:]}" if flag.startswith("--") else f"-s {flag[1:]}"
        for flag in action.option_strings
    )
    words = ["complete -c autos", f"-n {condition}", *flags]
    if action.choices:
        words.append(f"-f -a '{' '.join(action.choices)}'")
    elif not action.option_strings:
        return ""
    if action.nargs != 0 and action.option_strings:
        words.append("-r")
    return " ".join([*words, f"-d {_text(action.help)}"])


def _text(text: str | None) -> str:
    plain = (text or "").partition(", default")[0].replace("%%", "%")
    return shlex.quote(plain).replace("'\"'\"'", "\\'")


def _commands(root: argparse.ArgumentParser) -> Commands:
    [commands] = [each for each in root._actions if isinstance(each.choices, dict)]
    return dict(commands.choices or {})


def _actions(parser: argparse.ArgumentParser) -> Iterator[argparse.Action]:
    """Yield the options and arguments of one parser."""
    return (each for each in parser._actions if not isinstance(each.choices, dict))


def _flags(parser: argparse.ArgumentParser) -> list[str]:
    return [flag for each in _actions(parser) for flag in each.option_strings]


SHELLS: dict[str, Callable[[Commands, argparse.ArgumentParser], str]] = {
    "bash": _bash,
    "fish": _fish,
    "zsh": _zsh,
}
