"""Which worlds serve which purpose. The ranges are disjoint: nothing is measured on a world it was taught on."""

TRAINING = range(100_000, 200_000)  # the tiny CLIP learns from these
HELD_OUT = range(200_000, 300_000)  # its recipe's own measurement
DRIVE = range(900_000, 910_000)  # the demo video, from which the pipeline learns
TEST_DRIVE = range(910_000, 920_000)  # the demo video of places the pipeline has not seen
