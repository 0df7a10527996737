"""One MLflow run per pipeline run, and where a result came from: git commit, DVC experiment, digests."""
