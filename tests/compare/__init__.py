"""Tests of wildseg.compare."""
