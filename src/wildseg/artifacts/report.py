"""The report: one page, pictures of frames beside it, and records of the runs that made pages."""

from __future__ import annotations

from pathlib import Path

from wildseg.artifacts.folder import Project
from wildseg.core.files import empty_dir, save_bytes
from wildseg.core.names import plain

PICTURES = {"photo": ".jpg", "ids": ".png", "maps": ".jpg"}  # a folder each, with the suffix of its files


class ReportFiles(Project):
    """metrics/report.

    The page and its pictures are outputs of DVC. Records are not: they hold what differs between runs of one result.
    """

    @property
    def report_folder(self) -> Path:
        """The folder of the page."""
        return self.metrics / "report"

    @property
    def report_page(self) -> Path:
        """The page."""
        return self.report_folder / "index.html"

    def empty_report(self) -> None:
        """Empty metrics/report but for the records, also of temporary files of a run that was killed."""
        self.report_folder.mkdir(parents=True, exist_ok=True)
        self.report_page.unlink(missing_ok=True)
        for path in (*self.report_folder.glob(".*.html"), *self.report_folder.glob("*/.*.js")):
            path.unlink(missing_ok=True)
        self.empty_report_pictures()

    def empty_report_pictures(self) -> None:
        """Empty metrics/report/frames."""
        empty_dir(self.report_folder / "frames")

    def report_picture(self, kind: str, frame: str) -> Path:
        """Return the path of a picture of a frame, of one of the kinds of `PICTURES`."""
        return self.report_folder / "frames" / kind / f"{plain(frame)}{PICTURES[kind]}"

    def save_report(self, page: str) -> None:
        """Write the page."""
        save_bytes(self.report_page, page.encode())

    def save_run_record(self, folder: str, digest: str, script: str) -> None:
        """Write the record of the run that made the page of a digest."""
        save_bytes(self.report_folder / folder / f"{digest}.js", script.encode())
