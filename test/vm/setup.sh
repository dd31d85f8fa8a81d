#!/bin/sh
# setup.sh – makes this machine able to run test/vm, on top of what test/lab/setup.sh does: installs QEMU, and fetches
# the kernel for the guest, with what it needs, as .deb files. Idempotent; needs root, no terminal, and Debian 12 on
# amd64. Prints the folder of the .deb files: what REDISD_VM is to be.
set -eu

kernel=linux-image-cloud-amd64

say() { echo "vm setup: $*" >&2; }
die() { say "$*"; exit 1; }

[ "$(id -u)" = 0 ] || die "root is needed"
. /etc/os-release
[ "${VERSION_CODENAME:-} $(dpkg --print-architecture)" = "bookworm amd64" ] || die "Debian 12 on amd64 is needed"
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
exec </dev/null

here=$(dirname "$(readlink -f "$0")")
"$here/../lab/setup.sh" >&2
lab=$(sha256sum <"$here/../lab/setup.sh" | cut -c1-16)
own=$(sha256sum <"$0" | cut -c1-16)
cache=${REDISD_LAB_CACHE:-/var/cache/redisd-lab}
debs=$cache/vm/$lab-$own

command -v qemu-system-x86_64 >/dev/null || {
	say "installing qemu-system-x86"
	apt-get update -qq >&2
	apt-get install -y -qq --no-install-recommends qemu-system-x86 >&2
}

# With the image's own list of what is installed, apt fetches all that the kernel needs and the image lacks.
if [ ! -d "$debs" ]; then
	say "fetching $kernel"
	rm -rf "$cache/vm"
	mkdir -p "$debs.new/partial"
	apt-get update -qq >&2
	apt-get install -y -qq --no-install-recommends --download-only \
		-o Dir::State::status="$cache/image-$lab/var/lib/dpkg/status" \
		-o Dir::State::extended_states=/dev/null -o Dir::Cache::archives="$debs.new" \
		-o Dir::Cache::pkgcache= -o APT::Sandbox::User=root "$kernel" >&2
	rm -rf "$debs.new/partial" "$debs.new/lock"
	mv "$debs.new" "$debs"
fi
echo "$debs"
