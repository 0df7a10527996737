"""Refinements of activation maps, one file each; the file's name is the value of cam.refine."""
