"""Runs an exported model on a video, without wildseg: python onnx_video.py segmenter.onnx trip.mp4 classes.mp4."""

import json
import sys

import av
import numpy as np
import onnxruntime

model, source_path, target_path = sys.argv[1:]
session = onnxruntime.InferenceSession(model, providers=onnxruntime.get_available_providers())
metadata = session.get_modelmeta().custom_metadata_map
names, colours = json.loads(metadata["classes"]), np.array(json.loads(metadata["colours"]), np.uint8)
pixels = np.zeros(len(names), int)

with av.open(source_path) as source, av.open(target_path, "w") as target:
    video = source.streams.video[0]
    shown = target.add_stream("libx264", rate=video.average_rate)
    shown.width, shown.height = video.width // 2 * 2, video.height // 2 * 2  # H.264 wants even sides
    for frame in source.decode(video):
        image = frame.to_ndarray(format="rgb24")  # (H, W, 3) uint8
        (ids,) = session.run(["ids"], {"image": image[None]})[0]  # (H, W) uint8
        pixels += np.bincount(ids.ravel(), minlength=len(names))
        mixed = np.where(ids[..., None] > 0, image // 2 + colours[ids] // 2, image)
        target.mux(shown.encode(av.VideoFrame.from_ndarray(mixed, "rgb24")))
    target.mux(shown.encode())

for name, share in zip(names, pixels / max(1, pixels.sum()), strict=True):
    print(f"{name:<20} {share:6.1%}")
