"""What a hub of any size needs, worked from measured constants: rows, requests, CPU and money.

Nothing is run: change a constant to your own and read the table again (docs/scale.md).
"""

import argparse
from dataclasses import dataclass, fields

from app.contents.packs import PACK_NBYTES
from app.contents.reading import RUN_NBYTES
from app.digest import CHECK_BYTES, PIECE_BYTES
from bench.report import print_table

TB, PB = 1e12, 1e15
SIZES = {"1 TB": TB, "100 TB": 100 * TB, "1 PB": PB, "77 PB": 77 * PB}


@dataclass(frozen=True, slots=True, kw_only=True)
class Constants:
    """Each with where it comes from. Rates are per decimal GB of logical bytes."""

    stored_share: float = 0.273
    """Stored / logical of a hub of fine-tunes: ``python -m bench.demo``. With few relatives .66."""
    tensors_per_gb: float = 18.0
    """Distinct ones: Llama 3.1 8B has 291 in 16.06 GB."""
    files_per_gb: float = 0.6
    """Big and small: one repository of ten files for each 16 GB."""
    content_row_nbytes: float = 570.0
    """Content, segment, encoding, a tenth of an object, with indexes: ``python -m bench.scale``."""
    file_row_nbytes: float = 740.0
    """File and tree entry, its share of commit and tree: the same bench."""
    sketch_nbytes: float = 8_300.0
    """One per tensor: ``codec.sketch`` gives 8,204 bytes."""
    upload_cpu_s_per_gb: float = 3.1
    """By LFS: ``python -m bench.transfer``; 5.2 by Xet."""
    encode_cpu_s_per_gb: float = 20.0
    """Choice of base, coding, reading back: ``python -m bench.encode``, the fine-tune."""
    download_cpu_s_per_gb: float = 2.9
    """A fine-tune rebuilt by the hub: ``python -m bench.transfer``; .4 when the client decodes."""
    turnover_per_month: float = 0.05
    """Share of the logical bytes that is new each month."""
    reads_per_month: float = 1.0
    """How often the average logical byte is downloaded in a month."""
    usd_per_gb_month: float = 0.021
    usd_per_1000_writes: float = 0.005
    usd_per_1000_reads: float = 0.0004
    """S3-like list prices; set your own. Traffic out of the cloud is not in the table."""


def needs(logical_nbytes: float, of: Constants) -> dict[str, str]:
    """One column of the table."""
    gb = logical_nbytes / 1e9
    stored = logical_nbytes * of.stored_share
    tensors, files = gb * of.tensors_per_gb, gb * of.files_per_gb
    checks = stored / PIECE_BYTES * CHECK_BYTES
    rows = (tensors + files) * of.content_row_nbytes + files * of.file_row_nbytes
    objects = stored / PACK_NBYTES
    month_s = 30 * 24 * 3600
    new_gb, read_gb = gb * of.turnover_per_month, gb * of.reads_per_month
    gets = read_gb * 1e9 * of.stored_share * 2 / RUN_NBYTES  # a delta and its base
    puts = new_gb * 1e9 * (1 + of.stored_share) / PACK_NBYTES
    listing = objects / 1000 * 4.3  # the weekly sweep
    usd = (
        stored / 1e9 * of.usd_per_gb_month
        + (puts + listing) / 1000 * of.usd_per_1000_writes
        + gets / 1000 * of.usd_per_1000_reads
    )
    plain_usd = gb * of.usd_per_gb_month
    return {
        "stored": _bytes(stored),
        "files": _count(files),
        "contents": _count(tensors + files),
        "rows and indexes": _bytes(rows),
        "checks of pieces": _bytes(checks),
        "sketches": _bytes(tensors * of.sketch_nbytes),
        "objects": _count(objects),
        "LIST calls of a sweep": _count(objects / 1000),
        "cores for uploads": _count(new_gb * of.upload_cpu_s_per_gb / month_s),
        "cores for encoding": _count(new_gb * of.encode_cpu_s_per_gb / month_s),
        "cores for downloads": _count(read_gb * of.download_cpu_s_per_gb / month_s),
        "GET requests a month": _count(gets),
        "USD a month": _count(usd),
        "USD a month, stored plainly": _count(plain_usd),
    }


def _bytes(nbytes: float) -> str:
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if nbytes < 1000:
            return f"{nbytes:.3g} {unit}"
        nbytes /= 1000
    return f"{nbytes:.3g} PB"


def _count(number: float) -> str:
    if number < 0.01:
        return "< .01"
    for unit in ("", " k", " M"):
        if number < 1000:
            return f"{number:.3g}{unit}"
        number /= 1000
    return f"{number:.3g} G"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.sizing", description=__doc__)
    for field in fields(Constants):
        flag = f"--{field.name.replace('_', '-')}"
        parser.add_argument(flag, dest=field.name, type=float, default=field.default)
    constants = Constants(**vars(parser.parse_args()))
    columns = [needs(nbytes, constants) for nbytes in SIZES.values()]
    rows = [[label, *(column[label] for column in columns)] for label in columns[0]]
    print_table("A hub by logical size", ["", *SIZES], rows)


if __name__ == "__main__":
    main()
