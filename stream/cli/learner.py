"""`tellwire learner`: learns from served features and publishes snapshots until it is stopped."""

from stream.cli.config import ConfigFile


def learner(config: ConfigFile = None) -> None:
    """Learn the flows' usual sessions from risk.features; publish snapshots that workers serve. Run one only."""
    from stream import settings
    from stream.app import configure_process
    from stream.learner import Learner

    loaded = settings.load(config)
    configure_process(loaded)
    Learner(loaded).run()
