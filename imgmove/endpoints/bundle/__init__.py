"""Air-gap bundles: image archives that say of every byte what it has to be, in one file or in volumes."""

from __future__ import annotations

from imgmove.endpoints.bundle.index import BundleIndex
from imgmove.endpoints.bundle.joined import Fault
from imgmove.endpoints.bundle.reader import Bundle, is_bundle, open_bundle
from imgmove.endpoints.bundle.shape import BundleOptions, Shape, make_shape, needless
from imgmove.endpoints.bundle.split import volume_path
from imgmove.endpoints.bundle.writer import BundleFile, BundleStream

__all__ = [
    "Bundle",
    "BundleFile",
    "BundleIndex",
    "BundleOptions",
    "BundleStream",
    "Fault",
    "Shape",
    "is_bundle",
    "make_shape",
    "needless",
    "open_bundle",
    "volume_path",
]
