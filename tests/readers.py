"""Every place of the package where a file is read: how to make it read one, and what comes of a file it cannot use.

A test compares the list with the code, so that whoever reads a file in a new place adds a line here.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import save as tensors_as_bytes

from tests.encoders.models import CONFIGS
from tests.labels import tiny_detectors
from tests.segment.networks import segmenter_trainer
from wildseg.artifacts import truth_maps
from wildseg.artifacts.curve import load_curves
from wildseg.artifacts.frame_counts import FrameCountsFile
from wildseg.artifacts.memory import MemoryFiles
from wildseg.artifacts.predictions import PredictionFolder
from wildseg.artifacts.project import Artifacts, Frame
from wildseg.cam.given_maps import GivenMaps
from wildseg.cam.networks.saliency import SaliencyFolder
from wildseg.cli import explanations
from wildseg.cli.compare import progress
from wildseg.cli.doctor import tracking as mlflow_check
from wildseg.cli.new import media as new_media
from wildseg.core.errors import WildsegError
from wildseg.core.files import load_bytes, load_json
from wildseg.encoders import captions, clip, configs, downloads, vocabulary
from wildseg.encoders.cnn import normalisation, weight_file
from wildseg.exchange import coco_masks, cvat, label_studio, voc
from wildseg.execution import cache_usage, large_entries, params, presets, repair
from wildseg.execution.result_store import ResultStore
from wildseg.frames import reader
from wildseg.frames.photos import decode_bytes
from wildseg.frames.read_stats import DecodeError, ReadStats
from wildseg.frames.sources import Source, find_sources
from wildseg.labels.language import replies
from wildseg.labels.language.messages import ChatQuery
from wildseg.methods.architectures import unet
from wildseg.methods.detectors import owlv2, yolo_world
from wildseg.report.page_frames import entries_of
from wildseg.stages import preflight
from wildseg.stages.tasks.photo_cache import PhotoCache, _Photo
from wildseg.tracking import mlflow_run, model, pending, provenance, sqlite
from wildseg.tracking.store import MlflowStore
from wildseg.training.checkpoint import Checkpoints
from wildseg.training.events import TrainingResult
from wildseg_demo.tiny_clip import dataset as tiny_dataset
from wildseg_demo.tiny_clip import model as tiny_model

FRAME = Frame("drive_000007", "drive", 7, 0.7, "test")
CLASSES = ["lawn", "road"]
KEY = "0f" * 32
REFUSED = object()  # an error of one line
NO_STORE = MlflowStore("", None, "")  # type: ignore[arg-type]


@dataclass(frozen=True)
class Reader:
    """What reads a file of a project, and what it answers to one that it cannot use: REFUSED, or as if there were none.

    code: the functions that open or parse it, as `tests.test_hostile_files.reads` names them.
    """

    code: tuple[str, ...]
    file: str
    read: Callable[[Artifacts, Path], object]
    answer: object = REFUSED
    errors: tuple[type[Exception], ...] = (WildsegError,)


def _entries(path: Path) -> list[dict[str, Any]]:
    """The entries of a page whose frames are what a file holds; none where it cannot be read."""
    try:
        content = load_bytes(path).decode("utf-8", "replace")
    except WildsegError:
        return []
    return entries_of(f'<script type="application/json" id="data-frames">{content}</script>')


def _quarantined(path: Path, kind: Literal["photos", "video", "bag"]) -> tuple[int, list[str]]:
    tally = ReadStats()
    frames = list(reader.read(Source("drive", kind, (path,)), None, tally))
    return len(frames), [item for item, _ in tally.quarantine]


def _clip(weights: Path, config: Path | None = None) -> object:
    # Under a name of its own, since open_clip keeps what it has read.
    name = f"hostile-{hashlib.sha256(str(weights).encode()).hexdigest()[:12]}"
    content = config.read_bytes() if config else json.dumps(CONFIGS["tiny"]).encode()
    (weights.parent / f"{name}.json").write_bytes(content)
    return clip.load(name, str(weights))


def _clip_config(config: Path) -> object:
    weights = config.with_name("weights.safetensors")
    weights.write_bytes(tensors_as_bytes({"a": torch.zeros(1)}))
    return _clip(weights, config)


def _mlflow_weights(weights: Path) -> object:
    config = {"architecture": "unet", "encoder": "resnet18", "options": {}, "classes": CLASSES, "ids": [0, 1, 2]}
    (weights.parent / "config.json").write_text(json.dumps(config))
    return model._load_pyfunc(str(weights.parent))


def _segmenter(artifacts: Artifacts) -> object:
    (artifacts.segmenter_folder / "config.json").write_text("{}")
    return artifacts.load_segmenter()


def _encoder(path: Path) -> object:
    return unet.build(2, "resnet18", str(path), encoder_depth=3, decoder_channels=[8, 8, 8])


def _checkpoint(folder: Path) -> bool:
    return Checkpoints(folder, "key").restore(segmenter_trainer(torch.nn.Conv2d(3, 2, 1), steps=2))


def _trained(path: Path) -> object:
    files = {"weights": path.with_name("model.safetensors")}
    found = large_entries.get(ResultStore(path.parents[1]), KEY, files, TrainingResult.of_record)
    assert not files["weights"].exists()
    return found


def _tiny_frames(path: Path) -> object:
    path.with_name("masks-0-1x1.npy").write_bytes(path.read_bytes())
    return tiny_dataset.load_or_render(path.parent, range(1), 1, 1).images[0]


def _tiny_model(path: Path) -> object:
    config = path.with_name(f"tiny-{hashlib.sha256(str(path).encode()).hexdigest()[:12]}.json")
    config.write_text(json.dumps(CONFIGS["tiny"]))
    return tiny_model.load_model(config, path)


def _words(path: Path) -> bool:
    (path.parent / "w.safetensors").touch()
    found = vocabulary.load_vocabulary("w", "w.safetensors", path.parent)
    return found is not None and found.subject == "trusted"


def _own_file(path: Path) -> bytes | None:
    photo = _Photo(PhotoCache(ResultStore(None), "", {}), path, None)
    photo._decoded = np.zeros((8, 8, 3), np.uint8)  # it was a picture when it was decoded
    return photo.own_file(None)


def _curve(artifacts: Artifacts, stage: str) -> Any:  # noqa: ANN401
    return mlflow_run.Recorder().attempt(lambda: mlflow_run._curve_of_file(artifacts, stage)) or None


def _left_by_repair(root: Path, path: Path) -> bool:
    (root / ".dvc" / "tmp").mkdir(parents=True, exist_ok=True)
    repair.repair(root)
    return path.exists()


def _detector(path: Path) -> object:
    """Have a detector read a file of its folder: the other files of it are those of a whole one."""
    content, folder = path.read_bytes(), path.parent
    tiny_detectors.owlv2(folder)
    if path.suffix == ".bin":
        (folder / "model.safetensors").unlink()
    path.write_bytes(content)
    return owlv2.load(str(folder), "cpu")


def _given(folder: Path) -> np.ndarray:
    return GivenMaps(folder, CLASSES, "cam.options.given.path").maps("a", [0], (8, 8))


TABLE = ("core.tables.load_table",)
SHEET = ("core.spreadsheet._decoded", "core.spreadsheet._rows")
IDS = ("core.images._load_png",)
TORCH = ("encoders.loading._from_file", "encoders.loading._check_torch_file", "encoders.loading._misfit")
OTHERS = (
    SafetensorError,
    ValueError,
    LookupError,
)  # a recipe that only whoever teaches the tiny CLIP runs: the library's own error

QUESTION = ChatQuery((("user", "what is it?"),), None, temperature=0.0, seed=0, max_tokens=9)

READERS = {
    "params": Reader(("core.yaml_files.text_of", "core.yaml_files.parse"), "params.yaml",
                    lambda a, path: params.load(path)),
    "params under presets": Reader(("core.yaml_files.text_of", "core.yaml_files.parse"), "params.yaml",
                                   lambda a, path: presets.init(path, ["voc"])),
    "dvc.lock": Reader(("tracking.provenance.lock_digests",), "dvc.lock",
                    lambda a, _: provenance.lock_digests(a.root), {}),
    "torn dvc.lock": Reader(("execution.repair._repair_lockfile", "execution.repair.readable"), "dvc.lock",
                            lambda a, path: _left_by_repair(a.root, path), False),
    "torn rwlock": Reader(("execution.repair._repair_rwlock",), ".dvc/tmp/rwlock",
                          lambda a, path: _left_by_repair(a.root, path), False),
    "JSON": Reader(("core.files.load_json",), "metrics/eval.json", lambda _, path: load_json(path)),
    "frames": Reader(TABLE, "data/frames/frames.csv", lambda a, _: a.load_frames()),
    "labels": Reader(TABLE, "data/labels/labels.csv", lambda a, _: a.load_labels(CLASSES)),
    "labels of tiles": Reader(TABLE, "data/labels/tiles.csv", lambda a, _: a.load_tiles(CLASSES, {})),
    "ticks": Reader(SHEET, "data/labels/ticks.csv", lambda a, _: a.load_ticks(CLASSES, (1, 2))),
    "overrides": Reader(SHEET, "data/labels/overrides.csv", lambda a, _: a.load_labels(CLASSES, a.overrides_csv)),
    "given": Reader(SHEET, "given.csv", lambda a, path: a.load_labels(CLASSES, path)),
    "scores": Reader(TABLE, "data/labels/scores.csv", lambda a, _: a.load_scores(CLASSES)),
    "priors": Reader(TABLE, "data/labels/priors.csv", lambda a, _: a.load_priors(CLASSES)),
    "answers": Reader(("artifacts.labels.Labels.load_answers",), "data/labels/answers.jsonl",
                      lambda a, _: list(a.load_answers())),
    "curves of the report": Reader(TABLE, "metrics/train/curve.csv", lambda _, path: load_curves(path)),
    "counts of frames": Reader(TABLE, "metrics/eval/counts.csv",
                               lambda a, _: FrameCountsFile(a.root).load_counts(CLASSES)),
    "page of a report": Reader(("report.page_frames.entries_of",), "metrics/report/index.html",
                               lambda _, path: _entries(path), []),
    "prompts": Reader(("core.files.load_json",), "data/labels/prompts.json", lambda a, _: a.load_prompts()),
    "server's answer": Reader(("labels.language.replies.parse_reply",), "answer.json",
                              lambda _, path: replies.parse_reply(path.read_bytes(), QUESTION, 0.0)),
    "server's pieces": Reader(("labels.language.replies._streamed",), "answer.txt",
                              lambda _, path: replies.parse_reply(b"data:" + path.read_bytes(), QUESTION, 0.0)),
    "curve": Reader(("tracking.mlflow_run._curve_of_file",), "metrics/train/curve.csv",
                    lambda a, _: _curve(a, "train"), None),
    "curve of a map network": Reader(("tracking.mlflow_run._curve_of_file",), "metrics/cam/curve.csv",
                                     lambda a, _: _curve(a, "cam"), None),
    "key frame": Reader(("core.images.load_image",), "data/frames/drive_000007.jpg",
                    lambda a, _: a.load_image(FRAME.name)),
    "shard": Reader(("artifacts.shards.open_file", "artifacts.shards._read", "artifacts.shards._directory"),
                    "data/cams/drive_000000.zip", lambda a, _: a.load_maps(FRAME.name)),
    "maps": Reader(("core.arrays.load_arrays", "core.arrays._array"), "data/cams/drive_000007.npz",
                   lambda a, _: a.load_maps(FRAME.name)),
    "bank of regions": Reader(("core.arrays.load_arrays", "core.arrays._array", "artifacts.memory.MemoryFiles._about"),
                              "data/memory/bank.npz", lambda a, _: MemoryFiles(a.root).load_bank()),
    "mask": Reader(IDS, "data/masks/drive_000007.png", lambda a, _: a.load_mask(FRAME.name)),
    "scribbles": Reader(IDS, "data/scribbles/drive_000007.png", lambda a, _: a.load_weak("scribbles", FRAME.name)),
    "points": Reader(IDS, "data/points/drive_000007.png", lambda a, _: a.load_weak("points", FRAME.name)),
    "prediction": Reader(("artifacts.predictions.PredictionFolder.key_of",), "predictions/a.png",
                         lambda _, path: PredictionFolder(path.parent).key_of("a"), None),
    "boxes": Reader(("core.files.load_json",), "data/boxes.json", lambda a, _: a.load_boxes(CLASSES)),
    "confidence": Reader(IDS, "data/masks/confidence/drive_000007.png", lambda a, _: a.load_confidence(FRAME.name)),
    "truth's classes.json": Reader(("artifacts.truth_map_files._of_json",), "data/truth/classes.json",
                                   lambda _, path: truth_maps.load(path, CLASSES)),
    "tasks of Label Studio": Reader(("exchange.label_studio.read",), "tasks.json",
                                    lambda _, path: label_studio.read(path)),
    "masks of COCO": Reader(("core.files.load_json",), "masks.json", lambda _, path: coco_masks.read(path)),
    "masks of CVAT": Reader((), "annotations.xml", lambda _, path: cvat.read(path)),
    "objects of VOC": Reader((), "Annotations/a.xml", lambda _, path: voc.object_names(path)),
    "truth's classes.csv": Reader(TABLE, "data/truth/classes.csv", lambda _, path: truth_maps.load(path, CLASSES)),
    "truth's labelmap.txt": Reader((), "data/truth/labelmap.txt", lambda _, path: truth_maps.load(path, CLASSES)),
    "truth": Reader(("artifacts.truth_masks.decode",), "data/truth/drive_000007.png",
                    lambda a, _: a.load_truth(FRAME, CLASSES, (4, 6))),
    "photo": Reader(("frames.photos.decode_photo", "frames.photos._check_whole", "frames.png.without_large_profile"),
                    "data/raw/a.jpg",
                    lambda _, path: _quarantined(path, "photos"),
                    (0, ["a.jpg"])),
    "photo's own bytes": Reader(("stages.tasks.photo_cache._Photo.own_file", "frames.photos.same_pixels"),
                                "data/raw/a.jpg",
                                lambda _, path: _own_file(path), None),
    "picture to explain": Reader(("frames.photos.decode_photo",), "a.jpg",
                                 lambda a, path: explanations.find(a, str(path))),
    "video": Reader(("frames.video._opened", "frames.truncation.truncation", "frames.gif_blocks.broken_blocks"),
                    "data/raw/a.mp4",
                    lambda _, path: _quarantined(path, "video"),
                    (0, ["a.mp4"])),
    "MCAP recording": Reader(("frames.bags.mcap_file._opened",), "data/raw/a.mcap",
                             lambda _, path: _quarantined(path, "bag"),
                             (0, ["a.mcap"])),
    "SQLite recording": Reader(("frames.bags.sqlite_file._opened",), "data/raw/a.db3",
                               lambda _, path: _quarantined(path, "bag"),
                               (0, ["a.db3"])),
    "metadata of a recording": Reader(("frames.sources._bag_parts",), "data/raw/metadata.yaml",
                                      lambda _, path: find_sources(path.parent)),
    "picture in a recording": Reader(("frames.photos.decode_bytes",), "data/raw/a",
                                     lambda _, path: decode_bytes(load_bytes(path)),
                                     errors=(DecodeError, WildsegError)),
    "video of a new project": Reader(("cli.new.media._video",), "data/raw/a.mp4",
                                     lambda _, path: new_media.measure(path)),
    "photo of a new project": Reader(("cli.new.media._photos",), "data/raw/a.png",
                                     lambda _, path: new_media._photos(Source("raw", "photos", (path,)))),
    "CLIP .safetensors": Reader(TORCH, "models/w.safetensors", lambda _, path: _clip(path)),
    "CLIP .pt": Reader(TORCH, "models/w.pt", lambda _, path: _clip(path)),
    "CLIP .pth": Reader(TORCH, "models/w.pth", lambda _, path: _clip(path)),
    "CLIP .bin": Reader(TORCH, "models/w.bin", lambda _, path: _clip(path)),
    "CLIP config": Reader(("encoders.configs._read",), "models/c.json", lambda _, path: _clip_config(path)),
    "CLIP config of the hub": Reader(("encoders.configs._read", "encoders.configs.find"),
                                     "models/open_clip_config.json",
                                     lambda _, path: configs.find(path.with_name("w.safetensors"), "any")),
    "captions": Reader(("encoders.captions.declares_region_captions",), "models/w.safetensors",
                       lambda _, path: captions.declares_region_captions(path), False),
    # Any text is a list of words, which only a warning speaks of.
    "words": Reader(("encoders.vocabulary.load_vocabulary",), "models/w.words.txt",
                    lambda _, path: _words(path), False),
    "encoder weights": Reader(("encoders.cnn.build._read",), "models/e.safetensors", lambda _, path: _encoder(path)),
    "encoder weights .pth": Reader(("encoders.cnn.build.create",), "models/e.pth", lambda _, path: _encoder(path)),
    "encoder weights' metadata": Reader(("encoders.cnn.normalisation._metadata",), "models/e.safetensors",
                                        lambda _, path: normalisation.of("resnet18", str(path))),
    "encoder weights' config": Reader(("encoders.cnn.normalisation._json",), "models/config.json",
                                      lambda _, path: normalisation._json(path)),
    "index of a model on the hub": Reader(("encoders.downloads._parts",), "model.safetensors.index.json",
                                          lambda _, path: downloads._parts(path), []),
    "what was looked at before": Reader(("stages.preflight._remembered",), ".wildseg/preflight.json",
                                        lambda _, path: preflight._remembered(path), {}),
    "model": Reader(("artifacts.segmenter.read_weights",), "models/segmenter/model.safetensors",
                    lambda a, _: _segmenter(a)),
    "model's config": Reader(("core.files.load_json",), "models/segmenter/config.json",
                             lambda a, _: a.load_segmenter_config()),
    "MLflow model": Reader(("artifacts.segmenter.read_weights",), "mlartifacts/m/model.safetensors",
                           lambda _, path: _mlflow_weights(path)),
    "MLflow model's config": Reader(("core.files.load_json",), "mlartifacts/m/config.json",
                                    lambda _, path: model._load_pyfunc(str(path.parent))),
    "MLflow database": Reader(("tracking.sqlite.check",), "mlflow.db",
                              lambda _, path: sqlite.check(path)),
    "MLflow database, checked": Reader(("cli.doctor.tracking._database",), "mlflow.db",
                                       lambda _, path: [one.level for one in mlflow_check._database(path, path.parent)],
                                       ["note"]),
    "run of MLflow": Reader(("core.files.load_json",), ".wildseg/tracking.json",
                            lambda a, _: pending.pending(NO_STORE, a, {}, lambda _: False), None),
    "row of a comparison": Reader(("core.files.load_json",), ".wildseg/compare/gradcam-none.json",
                                  lambda _, path: progress.stored(path, KEY), None),
    "checkpoint": Reader(("training.checkpoint._read",), ".wildseg/train/key/state.safetensors",
                         lambda a, path: _checkpoint(path.parents[1]), False),
    "cache": Reader(("execution.result_store.ResultStore.get", "execution.result_store._unpack"),
                    f".wildseg/cache/cam/{KEY[:2]}/{KEY[2:]}",
                    lambda _, path: ResultStore(path.parents[1]).get(KEY), None),
    "cache of trained models": Reader(("execution.large_entries.get", "execution.large_entries._restore"),
                                      f".wildseg/cache/train/{KEY[:2]}/{KEY[2:]}",
                                      lambda _, path: _trained(path), None),
    "notes of the cache": Reader(("execution.cache_usage._last_run",), ".wildseg/cache/cam.json",
                                 lambda _, path: cache_usage._last_run(path.parent, "cam"), (None, None)),
    # By transformers, which is told to read safetensors alone.
    "map network's weights .pth": Reader(
        ("encoders.cnn.weight_file.read_weights", "encoders.cnn.weight_file._load_torch"), "w.pth",
        lambda _, path: weight_file.read_weights(path, "cam.options.l2g.checkpoint")),
    "map network's weights .safetensors": Reader((), "w.safetensors",
                                                 lambda _, path: weight_file.read_weights(path, "encoder_weights")),
    "given maps": Reader(("core.arrays.array_names",), "maps/a.npz", lambda _, path: _given(path.parent)),
    "given maps .png": Reader((), "maps/a/lawn.png", lambda _, path: _given(path.parents[1])),
    "saliency": Reader(IDS, "sal/a.png", lambda _, path: SaliencyFolder(path.parent, "cam")("a", np.zeros((1, 1, 3)))),
    "detector's weights": Reader((), "owl/model.safetensors", lambda _, path: _detector(path)),
    "detector's weights .bin": Reader((), "owl/pytorch_model.bin", lambda _, path: _detector(path)),
    "detector's config": Reader((), "owl/config.json", lambda _, path: _detector(path)),
    "detector's weights .pt": Reader((), "yolo.pt", lambda _, path: yolo_world.load(str(path), "cpu")),
    "detector's weights .onnx": Reader((), "yolo.onnx", lambda _, path: yolo_world.load(str(path), "cpu")),
    "detector's tokenizer": Reader((), "owl/tokenizer.json", lambda _, path: _detector(path)),
    "detector's processor": Reader((), "owl/processor_config.json", lambda _, path: _detector(path)),
    "tiny CLIP's frames": Reader(("wildseg_demo.tiny_clip.dataset.load_or_render",), "t/images-0-1x1.npy",
                                 lambda _, path: _tiny_frames(path), errors=OTHERS),
    "tiny CLIP": Reader(("wildseg_demo.tiny_clip.model.load_model",), "t/model.safetensors",
                        lambda _, path: _tiny_model(path), errors=OTHERS),
}  # fmt: skip

# Opens files that are not anybody else's, or does not look into them.
HARMLESS = {
    "stages.preflight._check_in_process": "what our own process answers",
    "stages.preflight._send_check": "opened to write nowhere",
    "labels.language.transport.post": "an address, never a file; what comes is read by reply_of",
    "labels.language.transport.read_error": "shown as text",
    "stages.cam.regions.made_by": "what was written as JSON just before",
    "stages.eval.run_record._value": "a text of params.yaml, and no file",
    "report.document._asset": "script and style of the package",
    "cli.tick.server._asset": "script and style of the package",
    "cli.tick.server._Handler.do_POST": "what the page sent, checked by Session.tick",
    "core.files.open_loose": "opened for the readers of files.py",
    "artifacts.shards.pack": "bytes that were just written",
    "wildseg_demo.world.drive.restore_or_write": "bytes that were just rendered",
    "execution.project_lock._try": "locked, and only written",
    "execution.project_lock.holder": "locked, and not read",
    "execution.project_lock._read": "plain values, shown with escapes",
    "artifacts.supervision.Supervision.training_digests": "hashed",
    "core.files.sha256_of": "hashed",
    "cli.new.project._same": "hashed",
    "cli.compare.run.key_of_conditions": "hashed",
    "cli.tick.session._locked": "locked, and not read",
    "cli.classes.given_maps._write_archive": "only written",
    "encoders.weights.identity": "hashed",
    "execution.recorded_inputs._signature": "hashed",
    "tracking.mlflow_run._model_digest": "hashed",
    "tracking.facts.data_set": "hashed",
    "labels.language.model_digest._digest": "hashed",
    "stages.tasks.keyframe_extractor._digest": "hashed",
    "stages.tasks.detect._identity": "hashed",
    "stages.cam.config.option_files": "hashed",
    "artifacts.memory.MemoryFiles.bank_digest": "hashed",
    "stages.prediction.run._digest_of_clip": "hashed",
    "stages.train.keys._beside": "hashed",
    "stages.cam.task.CamTask.depends_on": "hashed",
    "encoders.cnn.packaged.read": "refused unless its digest is the known one, then read as weights only",
    "methods.architectures.pcaa.build": "read by weight_file.read_weights",
    "methods.architectures.san._load_checkpoint": "read by weight_file.read_weights",
    "methods.cam.clims.build": "read by weight_file.read_weights",
    "methods.cam.ccam._load": "read by weight_file.read_weights",
    "execution.large_entries.put": "written",
    "execution.large_entries._write": "copied into an entry",
    "core.lookup._parsed": "our own source, parsed and not run",
    "core.yaml_document.Document.__init__": "a text that `parse` has read, once more with its comments",
    "core.yaml_values._is_plain": "our own text, to see that it means the same",
    "core.yaml_document.Document.text": "our own text, to see that it means the same",
    "execution.fingerprint._follow": "our own source, parsed and not run",
    "execution.fingerprint._folders": "our own source, parsed and not run",
    "execution.fingerprint.fingerprint": "our own source, hashed",
    "execution.engines._ray_cluster._no_errors_shown": "the file that is nowhere",
    "metrics.cost._resident": "the system's account of this process",
    "core.tables.save_table": "written",
    "wildseg_demo.world.video.open_video": "written",
    "tracking.sqlite.locked": "written: a lock",
    "report.video.video_writer": "written",
}
