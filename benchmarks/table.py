"""Results as Markdown tables, in README.md between two marks, and as JSON: one table for each benchmark."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from benchmarks.timing import Result

HERE = Path(__file__).parent
BEGIN, END = "<!-- results -->", "<!-- end of results -->"


def markdown(results: Sequence[Result]) -> str:
    """Return the table: what is measured, ours, the peer, and how many times as much ours takes."""
    lines = ["| what | ours | peer | ours / peer | the peer |", "| --- | ---: | ---: | ---: | --- |"]
    for result in results:
        ratio = _ratio(result.ratio)
        if result.runs > 1:
            ratio += f" ({_ratio(result.lowest)} to {_ratio(result.highest)})"
        lines.append(
            f"| {result.name} | {_number(result.ours)} {result.unit} | {_number(result.peer)} {result.unit} "
            f"| {ratio} | {result.peer_name} |"
        )
    return "\n".join(lines)


def machine() -> dict[str, object]:
    """Return what the numbers depend on, and nothing that names a person or a folder."""
    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)),
        "python": platform.python_version(),
        **{name: _version(name) for name in ("torch", "open_clip_torch", "numpy", "av", "dvc")},
        **_gpu(),
    }


def save(benchmark: str, results: Sequence[Result]) -> None:
    """Write the results of one benchmark into results.json; those of others stay, and README.md shows all."""
    path = HERE / "results.json"
    kept: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    kept[benchmark] = {"machine": machine(), "results": [asdict(result) for result in results]}
    path.write_text(json.dumps(kept, indent=2) + "\n", encoding="utf-8")
    readme = HERE / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    readme.write_text(f"{before}{BEGIN}\n{_tables(kept)}\n{END}{after}", encoding="utf-8")


def _tables(kept: dict[str, Any]) -> str:
    """Return all tables, each under its benchmark's name, with the machine where it is another than before."""
    parts, last = [], None
    for benchmark, content in kept.items():
        facts = ", ".join(f"{key} {value}" for key, value in content["machine"].items())
        if facts != last:
            parts.append(f"On: {facts}")
        last = facts
        parts.append(f"`{benchmark}`\n\n" + markdown([Result(**values) for values in content["results"]]))
    return "\n\n".join(parts)


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def _ratio(value: float) -> str:
    return f"{value:.2f}" if value >= 0.1 else f"{value:.2g}"


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:  # no benchmark needs all of them
        return "none"


def _gpu() -> dict[str, str]:
    import torch

    return {"gpu": torch.cuda.get_device_name()} if torch.cuda.is_available() else {}


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return names[0].partition(":")[2].strip() if names else platform.machine()
