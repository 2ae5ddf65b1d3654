"""Groups of elements that models are asked about without having learned from them."""

GROUPS = {
    "halogens": {9, 17, 35, 53},
    "alkali metals": {3, 11, 19, 37, 55},
    "lanthanides": set(range(57, 72)),
    "3d metals": set(range(21, 31)),
    "pnictogens": {7, 15, 33, 51, 83},
}
"""Atomic numbers."""
