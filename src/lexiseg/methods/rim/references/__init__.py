"""The reference bank: where its images come from, how it is built, and the file that keeps it."""
