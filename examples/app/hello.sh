#!/bin/sh
# The whole application of the image that `make demo` builds and moves.
echo "hello from an image that imgmove moved"
