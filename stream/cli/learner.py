"""`tellwire learner`: learns from served features and publishes snapshots until it is stopped."""

from stream.cli.config import ConfigFile


def learner(config: ConfigFile = None) -> None:
    """Learn the flows' usual sessions from risk.features; publish snapshots that workers serve. Run one only."""
    from stream import logs, settings_source
    from stream.stopping import Stop

    loaded = settings_source.load(config)
    logs.configure(loaded.log)
    stop = Stop(loaded.health.stop_s)
    stop.install()
    # After the handlers: from here on it takes seconds, and compiles kernels at a first start.
    from stream.learner import Learner

    Learner(loaded, stop).run()
    stop.leave(0)
