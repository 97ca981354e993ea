"""Tests of imgmove; the folders mirror its rooms."""
