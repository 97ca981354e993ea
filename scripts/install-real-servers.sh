#!/bin/sh
# Installs the registries and tools that tests/real speaks to: as root on Debian and its children, nowhere else.
set -eu
missing=
for pair in docker-registry:docker-registry skopeo:skopeo umoci:umoci htpasswd:apache2-utils; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair##*:}"
done
[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "imgmove: tests that need$missing will be left out; on Debian: apt-get install$missing" >&2
    exit 0
fi
export DEBIAN_FRONTEND=noninteractive
apt-get -qq update
# shellcheck disable=SC2086 - several words on purpose
apt-get -qq install -y --no-install-recommends $missing >/dev/null
