"""Tests of wildseg.cli.compare."""
