"""`tellwire warm-up`: compiles the kernels ahead of time, so that the first worker starts as quickly as any other."""

import typer


def warm_up() -> None:
    """Compile the kernels of features and models into their cache. Needed once an installation; takes a minute."""
    import time

    from features.session import warm_up as warm_up_features
    from models.engine import Engine
    from stream import kernel_cache
    from stream.state.tally import warm_up as warm_up_state

    began = time.monotonic()
    kernel_cache.prepare()
    warm_up_features()
    warm_up_state()
    Engine.load()
    typer.echo(f"kernels are compiled and models load ({time.monotonic() - began:.0f} s)", err=True)
