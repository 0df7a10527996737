"""The names of classes as ROS 2 has them: vision_msgs/LabelInfo, by which Nav2 reads masks of ids (mono8 images).

`ros2 topic pub` takes the JSON as it is. Nav2's semantic segmentation layer reads the message from `labels_topic`.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def label_info(class_names: Sequence[str], ids: Iterable[int]) -> dict[str, Any]:
    """Return the fields of vision_msgs/LabelInfo.

    Args:
        class_names: by id.
        ids: those that occur in masks: the layer reports each listed class that its parameters lack as an error. Of
            uint8 masks the message reserves 255 for pixels without a class.

    Returns:
        ``header``, ``class_map`` (a class_id and class_name each), and ``threshold``, 0: no pixel is left out for its
        confidence.
    """
    return {
        "header": {"stamp": {"sec": 0, "nanosec": 0}, "frame_id": ""},
        "class_map": [{"class_id": index, "class_name": class_names[index]} for index in ids],
        "threshold": 0.0,
    }
