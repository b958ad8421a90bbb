"""Data sets on disk: records, shards, manifest, splits and writers."""
