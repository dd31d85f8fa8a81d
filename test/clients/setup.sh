#!/bin/sh
# setup.sh – installs the client libraries that test/clients runs, and what they need. Idempotent; needs root and no
# terminal.
#
#   setup.sh         the libraries that Debian has: redis-py (two releases), hiredis, phpredis
#   setup.sh --npm   also ioredis and node-redis, from npm, at the versions of their package-lock.json
#
# What is not installed as a package lies in REDISD_CLIENTS_CACHE (default /var/cache/redisd-clients), named after what
# it was made from. The newer redis-py comes from the mirror that this machine's apt uses (or REDISD_LAB_MIRROR).
set -eu

cache=${REDISD_CLIENTS_CACHE:-/var/cache/redisd-clients}
here=$(dirname "$(readlink -f "$0")")
keyring=/usr/share/keyrings/debian-archive-keyring.gpg
newer=trixie # whose redis-py is run beside that of the machine: it is Python alone, and runs on either

say() { echo "clients setup: $*" >&2; }
[ "$(id -u)" = 0 ] || { say "root is needed"; exit 1; }
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
exec </dev/null
npm=
[ "${1:-}" = --npm ] && npm=yes

wanted=$(cat "$here"/*/packages | sort -u)
[ -z "$npm" ] || command -v npm >/dev/null || wanted="$wanted nodejs npm"
missing=
for package in $wanted; do
	[ "$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null)" = installed ] || missing="$missing $package"
done
if [ -n "$missing" ]; then
	say "installing$missing"
	apt-get update -qq
	# shellcheck disable=SC2086 # a list of packages
	apt-get install -y -qq --no-install-recommends $missing >/dev/null
fi

mkdir -p "$cache"
exec 9>"$cache/setup.lock"
flock 9
work=$cache/work
trap 'rm -rf "$work"' EXIT
rm -rf "$work"

# --- the newer redis-py, unpacked

if [ ! -d "$cache/redis-py-$newer" ]; then
	say "unpacking redis-py of $newer"
	mkdir -p "$work/lists/partial" "$work/archives/partial" "$work/root"
	release=$(. /etc/os-release && echo "$VERSION_CODENAME")
	mirror=${REDISD_LAB_MIRROR:-$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' \
		"Release: $release" 'Component: main' | grep -m 1 '^http.*/debian/*$' || echo http://deb.debian.org/debian)}
	echo "deb [signed-by=$keyring] $mirror $newer main" >"$work/sources.list"
	apt_of_newer() {
		apt-get -qq -o Dir::Etc::sourcelist="$work/sources.list" -o Dir::Etc::sourceparts=/dev/null -o Dir::State::lists="$work/lists" \
			-o Dir::Cache="$work" -o Acquire::Languages=none -o APT::Sandbox::User=root "$@"
	}
	apt_of_newer update
	(cd "$work" && apt_of_newer download python3-redis)
	dpkg-deb -x "$work"/python3-redis_*.deb "$work/root"
	mv "$work/root/usr/lib/python3/dist-packages" "$cache/redis-py-$newer"
	rm -rf "$work"
fi

# --- hiredis' program

sum=$(sha256sum <"$here/hiredis/client.c" | cut -c1-16)
if [ ! -x "$cache/hiredis-$sum" ]; then
	gcc -std=gnu11 -Wall -Wextra -Werror -O1 -o "$cache/hiredis.new" "$here/hiredis/client.c" -lhiredis
	rm -f "$cache"/hiredis-*
	mv "$cache/hiredis.new" "$cache/hiredis-$sum"
fi
ln -sfn "hiredis-$sum" "$cache/hiredis"

# --- what npm has

[ -n "$npm" ] || exit 0
for library in ioredis node-redis; do
	sum=$(cat "$here/$library/package-lock.json" "$here/$library/package.json" | sha256sum | cut -c1-16)
	if [ ! -d "$cache/$library-$sum" ]; then
		say "npm ci for $library"
		mkdir -p "$work"
		cp "$here/$library/package.json" "$here/$library/package-lock.json" "$here/$library/.npmrc" "$work"
		npm ci --prefix "$work" --silent --no-audit --no-fund --ignore-scripts >&2
		rm -rf "$cache/$library"-*
		mv "$work" "$cache/$library-$sum"
	fi
	ln -sfn "$library-$sum" "$cache/$library"
done
