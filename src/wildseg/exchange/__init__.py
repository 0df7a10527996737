"""Formats of other tools, to and from plain arrays: COCO boxes, ROS label maps."""
