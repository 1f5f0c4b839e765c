"""Images with captions: tar shards, Parquet, folders; their order, their invalid records, their batches."""
