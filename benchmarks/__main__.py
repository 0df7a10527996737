"""Measure everything, or what is named, and print a table; `--save` also writes results.json and README.md."""

from __future__ import annotations

import argparse
import importlib
import sys

from benchmarks import table

WHAT = {
    "stages": "the time a frame takes in each stage of the default pipeline",
    "startup": "the time each command takes before it works",
    "nothing_to_do": "dvc repro when everything is up to date",
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("what", nargs="*", help=f"one or more of {', '.join(WHAT)}; default: all")
    parser.add_argument("--save", action="store_true", help="write benchmarks/results.json and the table in README.md")
    arguments = parser.parse_args()
    if unknown := set(arguments.what) - set(WHAT):
        parser.error(f"expected some of {', '.join(WHAT)}; found {', '.join(sorted(unknown))}")
    if arguments.save and arguments.what:
        parser.error("--save keeps a whole table: leave out what to measure")
    results = []
    for name in arguments.what or WHAT:
        for result in importlib.import_module(f"benchmarks.{name}").measure():
            print(f"{result.name}: {result.ratio:.2f} x {result.peer_name}", file=sys.stderr, flush=True)
            results.append(result)
    print(table.markdown(results))
    if arguments.save:
        table.save(results)


if __name__ == "__main__":
    main()
