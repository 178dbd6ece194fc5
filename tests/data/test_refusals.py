import pyarrow as pa

from herbray.data.refusals import RefusalLog, refuse_unusable
from herbray.schema import CATALOGUE


def test_metadata_cannot_name_images_in_other_buckets():
    images = ["s3://sheets/a/1.jpg", "s3://sheets/ab/2.jpg", "S3://private/3.jpg", "gs://sheets/a/4.jpg", "/data/5.jpg"]
    images += ["https://host/6.jpg"]
    rows = [dict.fromkeys(CATALOGUE.names) | {"specimen_id": str(n), "image": i} for n, i in enumerate(images)]
    refused = RefusalLog()
    kept = refuse_unusable(pa.Table.from_pylist(rows, schema=CATALOGUE), refused, "s3://sheets/a")
    assert kept["image"].to_pylist() == [images[0], images[4], images[5]]
    assert refused.table()["reason"].to_pylist() == ["outside"] * 3
