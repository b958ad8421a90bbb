"""Read and write the files of a data set: records, shards, manifest and splits."""

__all__ = [
    "assemble",
    "checks",
    "codec",
    "manifest",
    "publish",
    "records",
    "schema",
    "shard_jobs",
    "shard_writer",
    "shards",
    "splits",
    "statistics",
    "stored_dataset",
    "summary",
    "tensors",
    "writer",
]
