"""Dot products that come out the same to the last bit on every machine and in every company.

A matrix product's last bits depend on the shape of the block a row lies in, on the number of threads and on the
processor. Where results must not (which of two near vectors comes first), these loops add in one fixed order.
"""

from typing import no_type_check

from lexiseg.core.compiled import njit


@njit(cache=True, nogil=True, error_model="numpy")
@no_type_check
def dot(a, b):
    """Add up ``a * b`` in double precision, in eight interleaved sums; no fused multiply-add."""
    size = a.shape[0]
    s0 = s1 = s2 = s3 = s4 = s5 = s6 = s7 = 0.0
    whole = size - size % 8
    for d in range(0, whole, 8):
        s0 += float(a[d]) * float(b[d])
        s1 += float(a[d + 1]) * float(b[d + 1])
        s2 += float(a[d + 2]) * float(b[d + 2])
        s3 += float(a[d + 3]) * float(b[d + 3])
        s4 += float(a[d + 4]) * float(b[d + 4])
        s5 += float(a[d + 5]) * float(b[d + 5])
        s6 += float(a[d + 6]) * float(b[d + 6])
        s7 += float(a[d + 7]) * float(b[d + 7])
    for d in range(whole, size):
        s0 += float(a[d]) * float(b[d])
    return ((s0 + s1) + (s2 + s3)) + ((s4 + s5) + (s6 + s7))
