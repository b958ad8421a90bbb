"""Read and write the files of a data set: records, shards, manifest and splits."""

__all__ = [
    "assemble",
    "brief",
    "checks",
    "codec",
    "complete",
    "manifest",
    "packs",
    "publish",
    "records",
    "shard_jobs",
    "shard_writer",
    "splits",
    "statistics",
    "stored_dataset",
    "summary",
    "tensors",
    "writer",
]
