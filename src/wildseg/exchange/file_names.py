"""Matches file names in exports of annotation tools, with their folders, hashes and escapes, to key frames."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from urllib.parse import unquote

PICTURE = r"(?:jpe?g|png|bmp|webp|tiff?)"
SUFFIX = re.compile(rf"\.{PICTURE}$", re.IGNORECASE)
ROBOFLOW = re.compile(rf"[_.]{PICTURE}\.rf\.[0-9a-z]+$", re.IGNORECASE)  # drive_000024_jpg.rf.9f0c1d
HASH = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{6,64}"  # a UUID, or some digits of a hash
BEFORE = re.compile(rf"^({HASH})[-_.](.+)$", re.IGNORECASE)  # 9f0c1d2e-drive_000024
AFTER = re.compile(rf"^(.+)[-_.]({HASH})$", re.IGNORECASE)


def match_frames(listed: Sequence[str], frames: Collection[str]) -> dict[str, str]:
    """Return the key frame that each listed name matches, by that name, without the unmatched names.

    A name matches a frame if they are equal except for folders, a suffix, URL escapes, a hash before or after, and
    separators other than letters and digits. No other prefix is removed: ``left-drive_000024`` may be a frame of
    another video.

    Args:
        listed: as in the export: ``images/9f0c1d2e-drive_000024.jpg``.
        frames: names of key frames: ``drive_000024``.
    """
    known = _by_spelling(frames)
    found: dict[str, str] = {}
    hashed: set[int] = set()  # lengths of the removed hashes
    for name in listed:
        for candidate, hash_ in _candidates(name):
            if candidate in known and (not hash_ or _is_mixed(hash_)):
                found[name] = known[candidate]
                hashed.add(len(hash_))
                break
    # One hash in forty has no letter: digits are a hash if other hashes have their length.
    for name in listed:
        for candidate, hash_ in _candidates(name) if name not in found else ():
            if hash_ and len(hash_) in hashed and candidate in known:
                found[name] = known[candidate]
                break
    return found


def _by_spelling(frames: Collection[str]) -> dict[str, str]:
    """Return frames by their names, and by unique names in which every separator is a hyphen."""
    known: dict[str, str] = {}
    shared: set[str] = set()
    for frame in frames:
        spelling = _letters(frame)
        shared |= {spelling} & known.keys()
        known[spelling] = frame
    return {spelling: frame for spelling, frame in known.items() if spelling not in shared} | {f: f for f in frames}


def _letters(name: str) -> str:
    return re.sub(r"[\W_]", "-", name.casefold())


def _is_mixed(hash_: str) -> bool:
    return any(sign.isdigit() for sign in hash_) and any(sign.isalpha() for sign in hash_)


def _candidates(name: str) -> Iterator[tuple[str, str]]:
    """Yield (candidate for a frame's name, removed hash or ""), the likeliest first."""
    spellings = [text for whole in (name, unquote(name)) for text in (whole, *_last_parts(whole))]
    stems = [
        stem for text in spellings for stem in (text, SUFFIX.sub("", text), ROBOFLOW.sub("", SUFFIX.sub("", text)))
    ]
    stems = list(dict.fromkeys(stems))
    bare = [(match[2], match[1]) for stem in stems if (match := BEFORE.match(stem))]
    bare += [(match[1], match[2]) for stem in stems if (match := AFTER.match(stem))]
    plain = [(stem, "") for stem in stems]
    yield from plain
    yield from bare
    for stem, hash_ in (*plain, *bare):
        yield _letters(stem), hash_


def _last_parts(name: str) -> list[str]:
    # After the last folder; and in a URL such as /data/local-files/?d=images/drive_000024.jpg
    return [re.split(r"[/\\]", name)[-1], re.split(r"[/\\?&=#]", name)[-1], re.split(r"[?#]", name)[0].split("/")[-1]]
