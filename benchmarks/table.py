"""Results as a Markdown table, in README.md between two marks, and as JSON."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path

from benchmarks.timing import Result

HERE = Path(__file__).parent
BEGIN, END = "<!-- results -->", "<!-- end of results -->"


def markdown(results: Sequence[Result]) -> str:
    """Return the table: what is measured, ours, the peer, and how many times as long ours takes."""
    lines = ["| what | ours | peer | ours / peer | the peer |", "| --- | ---: | ---: | ---: | --- |"]
    for result in results:
        ratio = f"{result.ratio:.2f} ({result.lowest:.2f} to {result.highest:.2f})"
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
        **{name: version(name) for name in ("torch", "open_clip_torch", "numpy", "av", "dvc")},
    }


def save(results: Sequence[Result]) -> None:
    """Write results.json, and the table into README.md."""
    content = {"machine": machine(), "results": [asdict(result) for result in results]}
    (HERE / "results.json").write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    readme = HERE / "README.md"
    before, _, rest = readme.read_text(encoding="utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    facts = ", ".join(f"{key} {value}" for key, value in machine().items())
    readme.write_text(f"{before}{BEGIN}\n{facts}\n\n{markdown(results)}\n{END}{after}", encoding="utf-8")


def _number(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    names = [line for line in info.read_text().splitlines() if line.startswith("model name")] if info.exists() else []
    return names[0].partition(":")[2].strip() if names else platform.machine()
