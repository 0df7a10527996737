"""An S3 server on this machine (moto's), for what DVC sends to a remote."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

KEYS = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing", "AWS_DEFAULT_REGION": "us-east-1"}


@contextlib.contextmanager
def s3_server() -> Iterator[tuple[str, dict[str, str]]]:
    """Give (its address, the environment with which programs find their keys) of a server that keeps nothing."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = subprocess.Popen(
        [str(Path(sys.executable).parent / "moto_server"), "-H", "127.0.0.1", "-p", str(port)],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    endpoint = f"http://127.0.0.1:{port}"
    try:
        for _ in range(300):
            with contextlib.suppress(OSError):
                urllib.request.urlopen(endpoint, timeout=1).close()
                break
            time.sleep(0.2)
        yield endpoint, KEYS
    finally:
        server.terminate()
        server.wait(timeout=60)


def create_bucket(endpoint: str, address: str) -> None:
    """Create the bucket of ``s3://bucket/path``; keys come from the environment."""
    import boto3

    bucket = address.removeprefix("s3://").split("/")[0]
    boto3.client("s3", endpoint_url=endpoint, region_name=KEYS["AWS_DEFAULT_REGION"]).create_bucket(Bucket=bucket)


if __name__ == "__main__":
    os.environ |= KEYS
    create_bucket(*sys.argv[1:])
