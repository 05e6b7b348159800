"""Run every bench, each in a process of its own: ``python -m bench [--quick] [NAME …]``."""

import argparse
import subprocess
import sys

BENCHES = (
    "codec",
    "bound",
    "sparse",
    "lowrank",
    "fuzz_frames",
    "slo",
    "stored",
    "order",
    "transfer",
    "encode",
    "api",
    "engine",
    "replay",
    "load",
    "memory",
    "mirror",
    "scale",
    "scale_processes",
    "strain",
    "train",
)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("names", nargs="*", help=f"default: all of {', '.join(BENCHES)}")
    parser.add_argument("--quick", action="store_true", help="small inputs, few rounds")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(BENCHES)
    if unknown:
        parser.error(f"no such bench: {', '.join(sorted(unknown))}")
    failed = []
    for name in arguments.names or BENCHES:
        print(f"== {name}", flush=True)
        command = [sys.executable, "-m", f"bench.{name}", *(["--quick"] * arguments.quick)]
        if subprocess.run(command, check=False).returncode:
            failed.append(name)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
