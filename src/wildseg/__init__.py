"""wildseg: from a field video and a list of class names to a segmentation model, with no hand-drawn pixel.

What follows is the public API: each function calls what a stage of the pipeline calls, on one image. Names are imported
when they are first used, so that `import wildseg` loads neither NumPy nor torch.

    import wildseg as ws
    classes = ws.Classes({"lawn": ["lawn", "grass"], "curb": ["curb"]})
    clip = ws.load_clip("ViT-B-16-quickgelu", "openai", device="cuda")
    labels = ws.label_image(image, classes, clip, method="tagclip")
    maps = ws.activation_maps(image, labels.present, classes, clip, method="gradcam")
    mask, confidence = ws.pseudo_mask(image, maps, labels.present, priors=labels.priors)
    model = ws.load_segmenter("models/segmenter")
    ids = model.predict(image)
    model.export_onnx("segmenter.onnx")
    print(ws.evaluate(ids, truth, classes).miou)

An image is (H, W, 3) uint8 RGB. In label images 0 is the background, i the i-th class and 255 ignore. Mistakes raise a
`WildsegError` whose one line says what was expected, what came and what to do.
"""

TYPE_CHECKING = False  # not from typing, which takes longer to import than all of this
if TYPE_CHECKING:
    from wildseg.core.classes import Classes
    from wildseg.core.errors import DataError, ModelError, ParamsError, WildsegError
    from wildseg.encoders.clip import Clip
    from wildseg.metrics.evaluation import Evaluation
    from wildseg.segment.deployed import Segmenter
    from wildseg.segment.windows import Window
    from wildseg.stages.on_arrays import (
        Labels,
        activation_maps,
        evaluate,
        label_image,
        load_clip,
        load_segmenter,
        pseudo_mask,
    )

__all__ = [
    "Classes",
    "Clip",
    "DataError",
    "Evaluation",
    "Labels",
    "ModelError",
    "ParamsError",
    "Segmenter",
    "WildsegError",
    "Window",
    "activation_maps",
    "evaluate",
    "label_image",
    "load_clip",
    "load_segmenter",
    "pseudo_mask",
]

_MODULES = {
    "core.classes": ("Classes",),
    "core.errors": ("DataError", "ModelError", "ParamsError", "WildsegError"),
    "encoders.clip": ("Clip",),
    "metrics.evaluation": ("Evaluation",),
    "segment.deployed": ("Segmenter",),
    "segment.windows": ("Window",),
}
_HOME = {name: module for module, names in _MODULES.items() for name in names}


def __getattr__(name: str) -> object:
    """Import a public name when it is first used."""
    if name not in __all__:
        raise AttributeError(f"module 'wildseg' has no attribute {name!r}")
    from importlib import import_module

    value = getattr(import_module(f"wildseg.{_HOME.get(name, 'stages.on_arrays')}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    """List the public names beside those of any module."""
    return sorted({*globals(), *__all__})
