"""`tellwire worker`: scores telemetry until it is stopped."""

from stream.cli.config import ConfigFile


def worker(config: ConfigFile = None) -> None:
    """Score capture.telemetry and publish risk events. Stops cleanly on SIGTERM or Ctrl-C."""
    import gc

    # What is loaded from here on stays: looking for cycles in it takes a sixth of the start, for which others wait.
    gc.disable()
    from stream.heap import bound_heap
    from stream.start_clock import StartClock

    bound_heap()
    start = StartClock()
    from stream import logs, settings_source
    from stream.stopping import Stop

    loaded = settings_source.load(config)
    logs.configure(loaded.log)
    stop = Stop(loaded.health.stop_s)
    stop.install()
    start.ended("settings")
    # After the handlers: from here on it takes seconds, and compiles kernels at a first start.
    from stream.app import Worker

    start.ended("imports")
    Worker(loaded, stop, start).run()
    stop.leave(0)
