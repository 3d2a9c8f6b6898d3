"""`tellwire worker`: scores telemetry until it is stopped."""

from stream.cli.config import ConfigFile


def worker(config: ConfigFile = None) -> None:
    """Score capture.telemetry and publish risk events. Stops cleanly on SIGTERM or Ctrl-C."""
    from stream import settings
    from stream.app import Worker, configure_process

    loaded = settings.load(config)
    configure_process(loaded)
    Worker(loaded).run()
