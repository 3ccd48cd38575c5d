"""An S3 server on loopback: moto, with authorization switched on."""

import json
import os
import socket
import subprocess
import sys
from typing import Any, Self

from support.programs.live_scheduler import until
from support.programs.ports import free_ports
from wattline_runtime.data.stores.interface import StoreKeys

BUCKET = "wattline-data"
MAY_WRITE = ("s3:*",)
MAY_READ = ("s3:GetObject", "s3:ListBucket")
SETUP_REQUESTS = 7
"""The bucket, then a user, a policy and a key for each of two: before, everything is allowed."""


class S3Server:
    """A server with one bucket, a user who may write, and one who may read."""

    def __init__(self) -> None:
        self.port = free_ports(1)
        self.endpoint = f"http://127.0.0.1:{self.port}"
        self._start()
        s3, iam = self._client("s3"), self._client("iam")
        s3.create_bucket(Bucket=BUCKET)
        self.writer = self._user(iam, "writer", MAY_WRITE)
        self.reader = self._user(iam, "reader", MAY_READ)

    def _start(self) -> None:
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)]
        self._process = subprocess.Popen(
            command,
            env={**os.environ, "INITIAL_NO_AUTH_ACTION_COUNT": str(SETUP_REQUESTS)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        until(self._answers, "the S3 server")

    def _answers(self) -> bool:
        with socket.socket() as one:
            return one.connect_ex(("127.0.0.1", self.port)) == 0

    def _client(self, service: str) -> Any:
        import boto3

        return boto3.client(
            service,
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="setup",
            aws_secret_access_key="setup",
        )

    def _user(self, iam: Any, name: str, actions: tuple[str, ...]) -> StoreKeys:
        allowed = {"Effect": "Allow", "Action": actions, "Resource": "*"}
        policy = {"Version": "2012-10-17", "Statement": [allowed]}
        iam.create_user(UserName=name)
        iam.put_user_policy(UserName=name, PolicyName="data", PolicyDocument=json.dumps(policy))
        key = iam.create_access_key(UserName=name)["AccessKey"]
        return StoreKeys(key["AccessKeyId"], key["SecretAccessKey"])

    def stop(self) -> None:
        """Ends it; what it held is lost."""
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
