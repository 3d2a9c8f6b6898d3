"""The only package that knows Kafka, Redis, the wall clock, metrics and the environment."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("tellwire")
except PackageNotFoundError:  # run from a source tree that was never installed
    __version__ = "0+unknown"
