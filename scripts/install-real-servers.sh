#!/bin/sh
# Installs the registries, engines and tools that tests/real speaks to: as root on Debian and its children, nowhere else.
set -eu
missing=
for pair in docker-registry:docker-registry skopeo:skopeo umoci:umoci htpasswd:apache2-utils chromium:chromium \
    crontab:cron systemd-analyze:systemd \
    dockerd:docker.io docker:docker.io containerd:containerd ctr:containerd runc:runc podman:podman patchelf:patchelf readelf:binutils \
    sshd:openssh-server ssh:openssh-client tcsh:tcsh fish:fish; do
    command -v "${pair%%:*}" >/dev/null 2>&1 || missing="$missing ${pair##*:}"
done
if [ -n "$missing" ] && { [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; }; then
    echo "imgmove: tests that need$missing will be left out; on Debian: apt-get install$missing" >&2
    exit 0
fi
if [ -n "$missing" ]; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get -qq update
    # shellcheck disable=SC2086 - several words on purpose
    apt-get -qq install -y --no-install-recommends $missing >/dev/null
fi
# Newer engines beside the system's own, for which only Debian 12 has the right neighbours.
if [ "$(id -u)" = 0 ] && grep -q '^VERSION_ID="12"' /etc/os-release 2>/dev/null; then
    "$(dirname "$0")/get-trixie.sh" .cache/trixie >/dev/null
fi
