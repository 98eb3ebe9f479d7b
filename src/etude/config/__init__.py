"""The run file: what `etude train` reads, as frozen dataclasses, and nothing that acts on it."""

from etude.config.decode import load_run_file
from etude.config.run_file import RunFile, dump, plain
from etude.config.stages import Stage, load_stages

__all__ = ["RunFile", "Stage", "dump", "load_run_file", "load_stages", "plain"]
