"""Formats of other tools, to and from plain arrays: masks, boxes, tables of classes, ROS label maps."""
