"""`tellwire config show`: the effective settings, where each comes from, secrets masked."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Settings of all processes.", no_args_is_help=True)

ConfigFile = Annotated[
    Path | None, typer.Option("--config", help="Settings file (TOML); the environment is stronger.", metavar="FILE")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for programs.")]


@app.command("show")
def show(config: ConfigFile = None, as_json: AsJson = False) -> None:
    """Print every setting with its value, where it comes from, and its meaning; secrets masked."""
    import orjson

    from stream import settings_source
    from stream.cli.listing import Listing
    from stream.setting_rows import rows

    found = rows(settings_source.load(config), config)
    if as_json:
        listed = [{"name": r.name, "variable": r.variable, "value": r.value, "origin": r.origin} for r in found]
        typer.echo(orjson.dumps(listed, option=orjson.OPT_INDENT_2).decode())
        return
    listing = Listing("setting", "value", "meaning")
    for row in found:
        section, _, name = row.name.partition(".")
        is_set = row.origin != "default"
        listing.add(f"[{section}]", name, row.value, f"({row.origin}) {row.description}" if is_set else row.description)
    listing.print()
    typer.echo("\nA value without (environment) or (file) is the default. `--json` names the")
    typer.echo(f"variables, such as {found[0].variable}.")
