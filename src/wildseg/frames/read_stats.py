"""Statistics of reading: the counts of metrics/extract.json and the rows of quarantine.csv."""

from __future__ import annotations

from dataclasses import dataclass, field

from wildseg.core.errors import DataError, one_line

# Above this a picture is refused by its header alone: decoded, it would take gigabytes (a "decompression bomb").
MAX_PIXELS = 150_000_000


class DecodeError(Exception):
    """A picture or video that cannot be decoded; the reason is a short sentence for quarantine.csv."""

    @property
    def transient(self) -> bool:
        """Whether the system failed, so that another attempt may succeed."""
        return is_system_error(self.__cause__)


def reason_of(error: BaseException) -> str:
    """Return why the system, FFmpeg or another decoder failed, as a part of a sentence.

    In the system's own words where it has some, without the path, which is another on every machine.
    """
    words = getattr(error, "strerror", None) or str(error)
    return " ".join(words.split()) or type(error).__name__


def is_system_error(error: BaseException | None) -> bool:
    """Return whether an error comes from the system, such as a failing disk, and not from a file's bytes."""
    return isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno is not None)


@dataclass
class ReadStats:
    """Counts files and frames, and the broken ones among them with the reason.

    `decoded` counts all frames that the decoder gave out, also damaged ones; `lost` those it could not give out;
    `transient` the broken files that may be read another time; `notes` says of files what a user should know of them,
    though nothing is broken.
    """

    files: int = 0
    decoded: int = 0
    sampled: int = 0
    lost: int = 0
    bad_files: list[tuple[str, str]] = field(default_factory=list)
    bad_frames: list[tuple[str, str]] = field(default_factory=list)
    damaged: int = 0
    transient: int = 0
    spans: dict[str, tuple[float, float]] = field(default_factory=dict)
    notes: list[tuple[str, str]] = field(default_factory=list)

    def note(self, item: str, text: str) -> None:
        """Add a note about a file, once."""
        row = (one_line(item), one_line(text))
        if row not in self.notes:
            self.notes.append(row)

    def add_bad_file(self, item: str, reason: DecodeError) -> None:
        """Record a file of which nothing can be used."""
        self.transient += reason.transient
        self.bad_files.append((one_line(item), one_line(str(reason))))

    def add_damaged_frame(self, item: str, reason: str) -> None:
        """Record a damaged frame."""
        self.damaged += 1
        self.bad_frames.append((one_line(item), one_line(reason)))

    def add_lost_frames(self, item: str, reason: str, count: int, *, transient: bool = False) -> None:
        """Record `count` lost frames of the file `item`; `transient`: another attempt may read them."""
        self.lost += count
        self.transient += transient
        self.bad_frames.append((one_line(item), one_line(reason)))

    def add_sampled(self, source: str, clock_s: float) -> None:
        """Count a sampled frame, and extend the time span of its source."""
        self.sampled += 1
        first, _ = self.spans.get(source, (clock_s, clock_s))
        self.spans[source] = (first, clock_s)

    def add(self, other: ReadStats) -> None:
        """Add the statistics of other sources."""
        self.files += other.files
        self.decoded += other.decoded
        self.sampled += other.sampled
        self.lost += other.lost
        self.damaged += other.damaged
        self.transient += other.transient
        self.bad_files += other.bad_files
        self.bad_frames += other.bad_frames
        self.spans |= other.spans
        self.notes += other.notes

    @property
    def quarantine(self) -> list[tuple[str, str]]:
        """Return (item, reason) of all that was broken, files first."""
        return [*self.bad_files, *self.bad_frames]

    def check(self, max_failures: float) -> None:
        """Raise a DataError if more than the share `max_failures` of the files, or of the frames, was broken."""
        self._check(self.bad_files, len(self.bad_files), self.files, "files", max_failures)
        self._check(self.bad_frames, self.damaged + self.lost, self.decoded + self.lost, "frames", max_failures)

    @staticmethod
    def _check(rows: list[tuple[str, str]], bad: int, total: int, kind: str, max_failures: float) -> None:
        if not bad or bad <= max_failures * total + 1e-9:  # 0.29 of 100 is a little less than 29
            return
        item, reason = rows[0]
        if kind == "files" and total == 1:
            raise DataError(f"{item}: expected a video or photos that can be read, but {reason}")
        raise DataError(
            f"extract.max_failures: expected at most {100 * max_failures:g}% broken {kind}, found {bad} of {total}, "
            f"first {item} ({reason}); mend or remove what data/frames/quarantine.csv lists, or raise the limit"
        )
