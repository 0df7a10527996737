"""Dilation of a ResNet's last stages as PCAA was published: each block of a stage alike, or by a multi-grid.

Libraries differ in a dilated stage's first block: timm gives it the dilation of the stage before. A multi-grid (Chen et
al. 2017, arXiv:1706.05587, section 3.1) multiplies the dilation of the last stage block by block.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import nn

from wildseg.core.errors import ModelError

DILATED = {8: {"layer3": 2, "layer4": 4}, 16: {"layer4": 2}}  # by output stride, of stages
LAST = "layer4"


def dilate(backbone: nn.Module, output_stride: int, multi_grid: Sequence[int], name: str) -> None:
    """Set the dilations of a dilated ResNet, in place; other networks stay as they are.

    Args:
        backbone: the network or a module around it.
        output_stride: 8 or 16.
        multi_grid: factor of each block of the last stage; shorter ones are repeated.
        name: of the encoder, for the error line.

    Raises:
        ModelError: a multi-grid is given, and there is no ResNet.
    """
    stages = {path.rpartition(".")[2]: module for path, module in backbone.named_modules()}
    if not all(isinstance(stages.get(stage), nn.Sequential) for stage in DILATED[output_stride]):
        if set(multi_grid) != {1}:
            raise ModelError(f"train.options.pcaa.multi_grid: expected a ResNet as train.encoder, found {name!r}")
        return
    for stage, rate in DILATED[output_stride].items():
        for index, block in enumerate(stages[stage].children()):
            grid = multi_grid[index % len(multi_grid)] if stage == LAST else 1
            for convolution in _kernels(block):
                convolution.dilation = convolution.padding = (rate * grid, rate * grid)


def _kernels(block: nn.Module) -> Iterator[nn.Conv2d]:
    for module in block.modules():
        if isinstance(module, nn.Conv2d) and module.kernel_size == (3, 3):
            yield module
