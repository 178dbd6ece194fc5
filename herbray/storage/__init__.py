"""Files on the disk or in a bucket that readers see complete or not at all.

The only package that knows object stores. A path that stands for an address (`address.path_of`) is read through a local
copy (`cache`) and written as one object; any other path is an ordinary file.
"""

from herbray.storage.address import (
    AddressRefused,
    is_address,
    is_remote,
    path_of,
    place_of,
    show,
    show_all,
)
from herbray.storage.cache import fetch
from herbray.storage.errors import StoreRefused, StoreUnreachable, explain_error
from herbray.storage.files import (
    DamagedFile,
    MissingFile,
    digest,
    read_note,
    replace_file,
    sync_to_disk,
    write_bytes,
    write_note,
    write_text,
)
from herbray.storage.places import (
    check_buckets,
    exists,
    fetch_any,
    fetch_folder,
    file_sizes,
    glob,
    is_file,
    is_folder,
    list_names,
    make_folder,
    publish_folder,
    read_bytes,
    read_object,
    remove,
    remove_folder,
    rename,
    share_folder,
    write_object,
)
from herbray.storage.usage import describe_usage

__all__ = [
    "AddressRefused",
    "DamagedFile",
    "MissingFile",
    "StoreRefused",
    "StoreUnreachable",
    "check_buckets",
    "describe_usage",
    "digest",
    "exists",
    "explain_error",
    "fetch",
    "fetch_any",
    "fetch_folder",
    "file_sizes",
    "glob",
    "is_address",
    "is_file",
    "is_folder",
    "is_remote",
    "list_names",
    "make_folder",
    "path_of",
    "place_of",
    "publish_folder",
    "read_bytes",
    "read_note",
    "read_object",
    "remove",
    "remove_folder",
    "rename",
    "replace_file",
    "share_folder",
    "show",
    "show_all",
    "sync_to_disk",
    "write_bytes",
    "write_note",
    "write_object",
    "write_text",
]
