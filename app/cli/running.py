"""`clade serve` and `clade warm`: a hub up and running."""

import sys
from dataclasses import asdict
from typing import Annotated

import typer

from app.cli.opening import settings_of
from app.cli.options import DataOption, JsonOption
from app.cli.printing import print_facts

app = typer.Typer()


@app.command()
def serve(
    data: DataOption = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port to listen on; 0: any free one.")
    ] = 8000,
) -> None:
    """Run the hub: HTTP front and, without a broker, its background jobs."""
    from app.serve import serve as run

    run(settings_of(data), host=host, port=port)


@app.command()
def warm(as_json: JsonOption = False) -> None:
    """Compile the codec ahead of its first use. Exit status 1 if that cannot be kept on disk."""
    import codec

    loaded = codec.load()
    print_facts(asdict(loaded), as_json)
    if loaded.directory is None:
        place = "no cache directory can be written; set NUMBA_CACHE_DIR to one that can"
        print(f"clade: {place}", file=sys.stderr)
        raise typer.Exit(1)
