"""Carrying images to where no network leads, again and again: bundles, what is known of the far side, and proofs."""
