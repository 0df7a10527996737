"""Recordings of robots: image topics of rosbag2 and MCAP files."""
