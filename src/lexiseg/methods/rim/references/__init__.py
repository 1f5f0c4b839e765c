"""The reference bank: where its pictures come from, how it is built, and the file that keeps it."""
