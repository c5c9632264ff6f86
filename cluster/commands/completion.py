"""`s4sweep completion`: what a shell needs to complete verbs, options, sweeps and files."""

from __future__ import annotations

import argparse

HELP = """\
print the completion of a shell: verbs, options, names of sweeps, files

bash: echo 'eval "$(s4sweep completion bash)"' >> ~/.bashrc
zsh:  echo 'eval "$(s4sweep completion zsh)"' >> ~/.zshrc"""

# Names of sweeps are looked up as folders, since starting Python at every key would be felt.
SCRIPT = """\
_s4sweep() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" options=""
    case "${{COMP_WORDS[1]}}" in
{cases}
    esac
    if [ "$COMP_CWORD" -eq 1 ]; then
        COMPREPLY=($(compgen -W "{verbs}" -- "$word"))
    elif [ "${{word#-}}" != "$word" ]; then
        COMPREPLY=($(compgen -W "$options" -- "$word"))
    else
        local sweeps
        sweeps=$(cd "${{S4SWEEP_HOME:-$HOME/s4sweep}}/sweeps" 2>/dev/null && echo *)
        COMPREPLY=($(compgen -W "${{sweeps%\\*}}" -- "$word") $(compgen -f -- "$word"))
    fi
}}
complete -o filenames -F _s4sweep s4sweep"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", choices=("bash", "zsh"), metavar="bash|zsh")


def main(args: argparse.Namespace) -> int:
    from cluster.cli import parser, verbs

    subparsers = parser()._subparsers
    assert subparsers is not None
    (action,) = subparsers._group_actions
    assert isinstance(action.choices, dict)
    cases = [
        f'        {name}) options="{" ".join(_options(sub))}" ;;'
        for name, sub in action.choices.items()
    ]
    if args.shell == "zsh":
        print("autoload -U +X bashcompinit && bashcompinit")
    print(SCRIPT.format(cases="\n".join(cases), verbs=" ".join(verbs())))
    return 0


def _options(parser: argparse.ArgumentParser) -> list[str]:
    return sorted(o for o in parser._option_string_actions if o.startswith("--"))
