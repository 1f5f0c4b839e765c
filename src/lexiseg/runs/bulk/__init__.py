"""Bulk work: one resumable way to do many inputs, here, in processes of this machine, or on a cluster by Ray Data."""
