"""Is everything there? The whole hub checked, damage found, named and kept until it is mended."""

from app.gc.fsck.report import FsckReport, Problem, reload_problems
from app.gc.fsck.run import fsck

__all__ = ["FsckReport", "Problem", "fsck", "reload_problems"]
