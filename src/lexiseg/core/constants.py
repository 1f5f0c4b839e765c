"""Numbers that more than one room needs."""

#: Void in a 16-bit label map: pixels nobody scores. Never a class, never background.
IGNORE_INDEX = 65535

#: Void in an 8-bit label file; readers turn it into IGNORE_INDEX.
IGNORE_INDEX_8BIT = 255

#: Pixels of the largest mask or label map that is unpacked: 23,000 × 23,000. A file that says more is damaged, or meant
#: to fill the memory: run lengths say a terabyte in a line.
MAX_PIXELS = 2**29

#: Labels are 16 bit and 65535 is void, so this many classes fit.
MAX_CLASSES = 65535
