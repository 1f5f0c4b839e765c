"""The published benchmarks, in the layouts people have on disk: one family a file, read, checked and converted alike."""
