"""`tellwire features list`: the ordered list of features that models are served."""

from typing import Annotated

import typer

from stream.cli.config import AsJson

app = typer.Typer(help="The features that models are served.", no_args_is_help=True)


@app.command("list")
def list_features(
    family: Annotated[str | None, typer.Option(help="Only this family, e.g. pointer.")] = None, as_json: AsJson = False
) -> None:
    """Print name, unit, range and meaning of every feature, in the order of the vector."""
    import msgspec

    from features.registry import FEATURES, REGISTRY_HASH
    from stream.cli.listing import Listing

    families = list(dict.fromkeys(feature.family for feature in FEATURES))
    if family is not None and family not in families:
        msg = f"no such family: {family}; there are {', '.join(families)}"
        raise typer.BadParameter(msg, param_hint="--family")
    chosen = [feature for feature in FEATURES if family in (None, feature.family)]
    if as_json:
        typer.echo(msgspec.json.format(msgspec.json.encode(chosen), indent=2).decode())
        return
    listing = Listing("feature", "unit", "range", "meaning")
    for feature in chosen:
        listing.add(
            f"[{feature.family}]",
            feature.name,
            feature.unit,
            f"{_short(feature.low)}..{_short(feature.high)}",
            feature.description,
        )
    listing.print()
    typer.echo(f"\n{len(chosen)} features; registry {REGISTRY_HASH[:12]}. Unit 1: a plain number or ratio.")


def _short(value: float) -> str:
    return f"{value:g}".replace("e+0", "e").replace("e+", "e")
