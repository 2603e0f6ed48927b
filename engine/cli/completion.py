"""`flywheel completion SHELL`: what a shell sources to complete commands, options, runs and plans."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

VARIABLE = "_FLYWHEEL_COMPLETE"


@click.command()
@click.argument("shell", type=click.Choice(["bash", "zsh", "fish"]))
@click.pass_context
def completion(context: click.Context, shell: str) -> None:
    """Print the completion script of SHELL: commands, options, ids of runs, names of plans.

    \b
    Examples:
      flywheel completion bash > ~/.local/share/bash-completion/completions/flywheel
      flywheel completion zsh  > "${fpath[1]}/_flywheel"
      flywheel completion fish > ~/.config/fish/completions/flywheel.fish
    """
    kind = get_completion_class(shell)
    assert kind is not None
    source = kind(context.find_root().command, {}, "flywheel", VARIABLE)
    # Click's own `source()` starts a bash to ask for its version, which may be another than the user's.
    click.echo(source.source_template % source.source_vars())
