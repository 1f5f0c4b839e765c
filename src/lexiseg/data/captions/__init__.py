"""Pictures with captions: tar shards, Parquet, folders; their order, their rot, their batches."""
