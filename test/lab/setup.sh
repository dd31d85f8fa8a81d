#!/bin/sh
# setup.sh – makes this machine able to run the lab: installs the tools that are missing and builds an image that
# hosts of the lab are booted from. Idempotent; needs root and no terminal.
#
#   setup.sh            install what is missing, build the image unless a current one is there
#   setup.sh --image    the image only: fail, rather than install anything on this machine
#   setup.sh --force    build the image again although a current one is there (newer packages)
#
# REDISD_LAB_IMAGE            which image: debian12 (the default), debian13, valkey, debian11; see below
# REDISD_LAB_CACHE            where images and disks live (default /var/cache/redisd-lab, about 300 MB an image)
# REDISD_LAB_MIRROR           Debian mirror; default: the one that this machine's apt uses, else deb.debian.org
# REDISD_LAB_SECURITY_MIRROR  the same for security updates
#
# An image is named after itself and a hash of this file, lists of packages included, so a changed recipe is a new
# image. Package lab knows the same hash: it embeds this file.
set -eu

# On this machine: command, and the package that has it.
tools='
debootstrap     debootstrap
systemd-nspawn  systemd-container
ip              iproute2
nft             nftables
nsenter         util-linux
mkfs.ext4       e2fsprogs
dpkg-deb        dpkg
'

# In the image, installed. No redis: that must come with the package under test.
installed='systemd systemd-sysv dbus iproute2 procps iputils-arping iputils-ping nftables tcpdump'

# Offered are .deb files in the image with all that they depend on, not installed. Hosts have no way out to the
# network; this is where `apt-get install ./redisd_….deb` finds redis, and where the baselines of the benchmark find
# theirs.
name=${REDISD_LAB_IMAGE:-debian12}
case $name in
debian12) # Redis 7.0, the oldest that redisd runs
	suite=bookworm offered='redis-server redis-sentinel redis-tools keepalived haproxy' ;;
debian13) # Redis 8.0; Valkey is on offer beside it, as in the distribution
	suite=trixie offered='redis-server redis-sentinel redis-tools valkey-server valkey-sentinel valkey-tools' ;;
valkey) # Valkey 8.1 alone
	suite=trixie offered='valkey-server valkey-sentinel valkey-tools' ;;
debian11) # Redis 6.0, which is too old; the release is not kept up any more, and so is taken as it came out
	suite=bullseye offered='redis-server redis-sentinel redis-tools' ;;
*)
	echo "lab setup: there is no image $name: debian12, debian13, valkey or debian11" >&2
	exit 1 ;;
esac

# Units with nothing to do inside a container; each would cost boot time on every host.
masked='
apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service
console-getty.service getty.target modprobe@.service systemd-modules-load.service systemd-remount-fs.service
dev-hugepages.mount sys-kernel-debug.mount sys-kernel-tracing.mount systemd-networkd-wait-online.service
'

cache=${REDISD_LAB_CACHE:-/var/cache/redisd-lab}
repo=/srv/lab-repo
self=$(readlink -f "$0")
install_tools=yes
force=

say() { echo "lab setup: $*" >&2; }
die() { say "$*"; exit 1; }

while [ $# -gt 0 ]; do
	case $1 in
	--image) install_tools= ;;
	--force) force=yes ;;
	*) die "unknown argument $1" ;;
	esac
	shift
done

[ "$(id -u)" = 0 ] || die "root is needed"
export DEBIAN_FRONTEND=noninteractive LC_ALL=C.UTF-8
exec </dev/null

key=$(sha256sum <"$self" | cut -c1-16)
key=$name-$key
image=$cache/image-$key

# --- the machine's tools

missing_packages() {
	echo "$tools" | while read -r command package; do
		[ -z "$command" ] || command -v "$command" >/dev/null || echo "$package"
	done | sort -u
	# Signatures of a Debian mirror cannot be checked on another distribution without these keys.
	[ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || echo debian-archive-keyring
}

PATH=$PATH:/usr/sbin:/sbin
missing=$(missing_packages | tr '\n' ' ')
if [ -n "$missing" ]; then
	[ -n "$install_tools" ] || die "missing on this machine: $missing(run setup.sh without --image to install them)"
	say "installing $missing"
	apt-get update -qq
	# shellcheck disable=SC2086 # a list of packages
	apt-get install -y -qq --no-install-recommends $missing
fi

# --- one builder at a time

mkdir -p "$cache"
exec 9>"$cache/setup.lock"
flock 9
if [ -d "$image" ] && [ -z "$force" ]; then
	say "image $image is there"
	exit 0
fi
exec 8>>"$image.lock" # shared by the labs that run from the image
flock -n -x 8 || die "$image is in use; stop the labs that run from it first"

work=$cache/build-$key
root=$work/root
cleanup() {
	# debootstrap leaves these mounted when it is interrupted.
	for m in "$root/proc" "$root/sys"; do
		if mountpoint -q "$m" 2>/dev/null; then umount -l "$m" || true; fi
	done
	rm -rf --one-file-system "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM HUP
cleanup
mkdir -p "$root"

# --- where packages come from: what this machine's own apt is set to use

# debian_uri RELEASE PATTERN: the first address from which apt takes main of RELEASE and whose path looks like PATTERN
# (other vendors' repositories name their releases after Debian's, too).
debian_uri() {
	apt-get indextargets --format '$(CREATED_BY) $(RELEASE) $(COMPONENT) $(REPO_URI)' 2>/dev/null |
		while read -r by release component uri; do
			[ "$by $release $component" = "Packages $1 main" ] || continue
			case $uri in
			mirror+file:*) uri=$(sed -n '/^http/{p;q}' "${uri#mirror+file:}" | cut -f1) ;;
			esac
			# shellcheck disable=SC2254 # a pattern is meant
			case $uri/ in
			http*$2*) echo "${uri%/}"; break ;;
			esac
		done
}

# A Debian mirror has every release that is not archived, so that of this machine's own release will do.
here=$(. /etc/os-release && echo "${VERSION_CODENAME:-$suite}")
mirror=${REDISD_LAB_MIRROR:-$(debian_uri "$suite" '/debian/')}
mirror=${mirror:-$(debian_uri "$here" '/debian/')}
mirror=${mirror:-http://deb.debian.org/debian}
security=${REDISD_LAB_SECURITY_MIRROR:-$(debian_uri "$suite-security" '/debian-security/')}
security=${security:-$(debian_uri "$here-security" '/debian-security/')}
security=${security:-http://deb.debian.org/debian-security}

http_proxy=${http_proxy:-}
https_proxy=${https_proxy:-}
eval "$(apt-config shell http_proxy Acquire::http::Proxy https_proxy Acquire::https::Proxy)"
[ -z "$http_proxy" ] || export http_proxy
[ -z "$https_proxy" ] || export https_proxy

# --- the base system

say "building $image (about a minute)"
# shellcheck disable=SC2086
debootstrap --variant=minbase --include="$(echo $installed | tr ' ' ,)" $suite "$root" "$mirror" >"$work/debootstrap.log" 2>&1 ||
	{ tail -20 "$work/debootstrap.log" >&2; die "debootstrap failed"; }

# --- the packages on offer: this machine's apt fetches them, judging by what the image has installed

keyring=/usr/share/keyrings/debian-archive-keyring.gpg
mkdir -p "$work/lists/partial" "$root$repo/partial"
echo "deb [signed-by=$keyring] $mirror $suite main" >"$work/sources.list"
[ "$suite" = bullseye ] || cat >>"$work/sources.list" <<-EOF
	deb [signed-by=$keyring] $mirror $suite-updates main
	deb [signed-by=$keyring] $security $suite-security main
EOF
cat >"$work/apt.conf" <<-EOF
	#clear APT::Update::Post-Invoke;
	#clear APT::Update::Post-Invoke-Success;
	#clear DPkg::Post-Invoke;
	#clear Acquire::IndexTargets::deb::DEP-11;
	Dir::Etc::sourcelist "$work/sources.list";
	Dir::Etc::sourceparts "/dev/null";
	Dir::State::lists "$work/lists";
	Dir::State::status "$root/var/lib/dpkg/status";
	Dir::State::extended_states "$work/extended_states";
	Dir::Cache::archives "$root$repo";
	Dir::Cache::pkgcache "";
	Dir::Cache::srcpkgcache "";
	Acquire::Languages "none";
	APT::Sandbox::User "root";
EOF
apt-get -c "$work/apt.conf" update -qq
# shellcheck disable=SC2086
apt-get -c "$work/apt.conf" install -y -qq --no-install-recommends --download-only $offered >/dev/null
rm -rf "$root$repo/partial" "$root$repo/lock"
(
	cd "$root$repo"
	for deb in *.deb; do
		dpkg-deb -f "$deb"
		echo "Filename: ./$deb"
		echo "Size: $(stat -c %s "$deb")"
		echo "SHA256: $(sha256sum <"$deb" | cut -d' ' -f1)"
		echo
	done >Packages
)

# --- what makes it a host of the lab

rm -rf "$root"/etc/apt/sources.list.d/* "$root"/var/lib/apt/lists/* "$root"/var/cache/apt/archives/*.deb
echo "deb [trusted=yes] file:$repo ./" >"$root/etc/apt/sources.list"
printf 'Acquire::Languages "none";\n' >"$root/etc/apt/apt.conf.d/90lab"
# Disks of the lab are thrown away: dpkg need not sync every file.
echo force-unsafe-io >"$root/etc/dpkg/dpkg.cfg.d/lab"
chroot "$root" apt-get update -qq

# A host's name, identity and addresses are its own: lab writes them when it makes the host.
: >"$root/etc/machine-id"
: >"$root/etc/resolv.conf"
rm -f "$root/etc/hostname" "$root/var/lib/dbus/machine-id"
mkdir -p "$root/etc/lab" "$root/etc/systemd/journald.conf.d" "$root/var/log/journal"
cat >"$root/etc/systemd/system/lab-network.service" <<-'EOF'
	[Unit]
	Description=Addresses of this host of the lab
	DefaultDependencies=no
	Wants=network.target
	Before=network.target network-online.target
	After=systemd-sysctl.service
	Conflicts=shutdown.target
	Before=shutdown.target
	ConditionPathExists=/etc/lab/network

	[Service]
	Type=oneshot
	RemainAfterExit=yes
	ExecStart=/bin/ip -batch /etc/lab/network

	[Install]
	WantedBy=multi-user.target network-online.target
EOF
cat >"$root/etc/systemd/journald.conf.d/lab.conf" <<-'EOF'
	[Journal]
	Storage=persistent
	RateLimitIntervalSec=0
	SystemMaxUse=64M
	SyncIntervalSec=1s
EOF
chroot "$root" systemctl -q enable lab-network.service
# shellcheck disable=SC2086
chroot "$root" systemctl -q mask $masked

# --- hand it over, and drop images that nobody has run from for two weeks (opening one touches its lock file)

[ -z "$force" ] || rm -rf --one-file-system "$image" "$cache/layers/$key-"*
mv "$root" "$image"
for old in "$cache"/image-*; do
	if [ ! -d "$old" ] || [ "$old" = "$image" ] || [ -n "$(find "$old.lock" -mtime -14 2>/dev/null)" ]; then continue; fi
	(
		flock -n -x 7 || exit 0
		rm -rf --one-file-system "$old" "$cache/layers/${old##*/image-}-"*
	) 7>>"$old.lock"
done
say "built $image, $(du -sh "$image" | cut -f1)"
