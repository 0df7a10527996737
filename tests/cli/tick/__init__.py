"""Tests of wildseg.cli.tick."""
