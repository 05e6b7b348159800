"""The `clade` command: run a hub, look after it, pull from it."""

from app.cli.entry import main

__all__ = ["main"]
