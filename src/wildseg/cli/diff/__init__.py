"""`wildseg diff`: the results of two commits, branches or experiments, by numbers, parameters and frames."""
