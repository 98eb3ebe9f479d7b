"""The run file: what `etude train` reads, as frozen dataclasses, and nothing that acts on it."""

from etude.config.decode import load_run_file
from etude.config.run_file import RunFile, dump, plain

__all__ = ["RunFile", "dump", "load_run_file", "plain"]
