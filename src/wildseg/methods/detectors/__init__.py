"""Open-vocabulary detectors, one file each, with ``load(model, device)``."""
