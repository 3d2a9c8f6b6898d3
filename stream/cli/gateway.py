"""`tellwire gateway`: takes telemetry over HTTP until it is stopped."""

from stream.cli.config import ConfigFile
from stream.cli.failures import UsageError


def gateway(config: ConfigFile = None) -> None:
    """Take a collector's telemetry over HTTP and produce it to Kafka. Stops cleanly on SIGTERM or Ctrl-C."""
    from stream import logs, settings_source
    from stream.stopping import Stop

    loaded = settings_source.load(config)
    logs.configure(loaded.log)
    stop = Stop(loaded.health.stop_s)
    stop.install()
    try:
        from stream.gateway.server import GatewayProcess
    except ModuleNotFoundError as missing:
        name = (missing.name or "").partition(".")[0]
        if name not in {"httptools", "starlette", "uvicorn"}:
            raise
        line = f"the gateway needs {name}, which is not installed: install tellwire[gateway]"
        raise UsageError(line) from None
    GatewayProcess(loaded, stop).run()
    stop.leave(0)
