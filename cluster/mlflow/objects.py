"""Makes a bucket, or copies a bucket's objects to a folder and back. Run by the deployments of the tracking server.

python objects.py make BUCKET · save BUCKET FOLDER · restore FOLDER BUCKET

Address and keys come from AWS_ENDPOINT_URL_S3 and the usual chain (environment, profile, identity of the machine).
Objects of the same size are not copied again: MLflow never changes an artifact. `save` deletes nothing, so deleted
artifacts stay in the copy.
"""

import sys
from pathlib import Path

import boto3
from botocore.exceptions import ClientError


def make(bucket: str) -> str:
    """Create the bucket unless it exists."""
    s3 = boto3.client("s3")
    try:
        s3.head_bucket(Bucket=bucket)
    except ClientError as error:
        if error.response["ResponseMetadata"]["HTTPStatusCode"] != 404:
            raise  # it exists and is not ours
        s3.create_bucket(Bucket=bucket)
    return f"bucket {bucket}: ready"


def save(bucket: str, folder: str) -> str:
    """Copy new objects to files; each file is whole or not there."""
    s3, copied = boto3.client("s3"), 0
    for key, size in _sizes(s3, bucket).items():
        file = _inside(Path(folder), key)
        if not (file.is_file() and file.stat().st_size == size):
            file.parent.mkdir(parents=True, exist_ok=True)
            part = file.with_name(f"{file.name}.part")
            s3.download_file(bucket, key, str(part))
            part.replace(file)
            copied += 1
    return f"{bucket}: {copied} objects copied to {folder}"


def restore(folder: str, bucket: str) -> str:
    """Copy files that the bucket lacks to objects."""
    s3, root, copied = boto3.client("s3"), Path(folder), 0
    have = _sizes(s3, bucket)
    for file in sorted(path for path in root.rglob("*") if path.is_file() and path.suffix != ".part"):
        key = file.relative_to(root).as_posix()
        if have.get(key) != file.stat().st_size:
            s3.upload_file(str(file), bucket, key)
            copied += 1
    return f"{folder}: {copied} objects copied to {bucket}"


def _sizes(s3, bucket: str) -> dict[str, int]:  # noqa: ANN001 - boto3's clients have no types
    pages = s3.get_paginator("list_objects_v2").paginate(Bucket=bucket)
    return {thing["Key"]: thing["Size"] for page in pages for thing in page.get("Contents", [])}


def _inside(folder: Path, key: str) -> Path:
    file = (folder / key).resolve()
    if not file.is_relative_to(folder.resolve()) or key.endswith("/"):
        raise ValueError(f"{key}: this name leads out of {folder}; rename the object")
    return file


if __name__ == "__main__":
    print({"make": make, "save": save, "restore": restore}[sys.argv[1]](*sys.argv[2:]))
