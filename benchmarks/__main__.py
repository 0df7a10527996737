"""Run all benchmarks, or those named, and print tables; `--save` also writes results.json and README.md."""

from __future__ import annotations

import argparse
import importlib
import sys

from benchmarks import table

WHAT = {
    "stages": "the time a frame takes in each stage of the default pipeline",
    "extract": "decoding and choosing key frames on frames of a camera's size",
    "cam": "activation maps of a CLIP of real size, in units of its forward pass",
    "refine": "propagation of maps along image edges, against SciPy's solvers",
    "crf": "dense CRF on two workers",
    "train": "the training loop of a segmenter, against bare steps on ready batches",
    "predict": "prediction of a video, decoding and writing included, against the bare network",
    "startup": "the time that the import and each command take before they work",
    "nothing_to_do": "dvc repro when everything is up to date",
    "incremental": "a run with 1 % new frames, against the run of all",
    "memory": "the memory of each stage with 100 and with 2,000 frames",
    "trained_cam": "a training step of the map networks, all of it against forward and backward",
    "map_bytes": "the stored size of activation maps, against whole arrays",
}
ON_REQUEST = {"gpu": "maps, training and prediction of real sizes on a GPU; only if named"}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    known = WHAT | ON_REQUEST
    parser.add_argument("what", nargs="*", help=f"one or more of {', '.join(known)}; default: all but the last")
    parser.add_argument(
        "--save", action="store_true", help="write the results into benchmarks/results.json and README.md"
    )
    arguments = parser.parse_args()
    if unknown := set(arguments.what) - set(known):
        parser.error(f"expected some of {', '.join(known)}; found {', '.join(sorted(unknown))}")
    for name in arguments.what or WHAT:
        results = []
        for result in importlib.import_module(f"benchmarks.{name}").measure():
            print(f"{result.name}: {result.ratio:.3g} x {result.peer_name}", file=sys.stderr, flush=True)
            results.append(result)
        print(f"{known[name]}\n\n{table.markdown(results)}\n", flush=True)
        if arguments.save:
            table.save(name, results)


if __name__ == "__main__":
    main()
