# SPDX-License-Identifier: BSD-2-Clause
#
# What the host side of the VM harness shares: messages, the cache outside the
# tree, the packages of the host, and Debian's suites that hold the kernels.
# Sourced by run, stock-kernel and build-kernel, from bash.
# shellcheck shell=bash
# shellcheck disable=SC2034 # used by those who source this
shopt -s inherit_errexit

VM=$(dirname "$(realpath "${BASH_SOURCE[0]}")")
SRC=$(realpath "$VM/../..")
CACHE=${XDG_CACHE_HOME:-$HOME/.cache}/pinmem
APT_CONF=$CACHE/apt/apt.conf

note()
{
	printf '%s: %s\n' "${0##*/}" "$*" >&2
}

die()
{
	note "$@"
	exit 2
}

# Runs a command while nobody else holds the lock of that name. The command must
# judge its success itself, or be called where errexit works: not before || or in
# a condition.
with_lock()
{
	local name=$1
	shift
	mkdir -p "$CACHE"
	(
		flock -n 9 || {
			note "waiting for another process that works on $name"
			flock 9
		}
		"$@" 9>&-
	) 9>"$CACHE/.lock-$name"
}

# Makes $tmp, a directory in the cache, which goes away with this shell.
make_tmp()
{
	tmp=$(mktemp -d "$CACHE/.tmp-XXXXXX")
	trap 'rm -rf "$tmp"' EXIT
}

# Removes what the cache has not used for two weeks; a user touches its entry.
prune_cache()
{
	find "$CACHE" -mindepth 1 -maxdepth 1 -mtime +14 \
		\( -name 'stock-*' -o -name 'patched-*' -o -name 'linux-source-*' \
		   -o -name '.tmp-*' \) -exec rm -rf {} +
}

# ---- the host's packages ----------------------------------------------------

wanted_packages()
{
	sed 's/#.*//' "$VM/packages" | awk 'NF { print $1 }'
}

missing_packages()
{
	local have
	have=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' |
		sed -n 's/^installed //p')
	wanted_packages | grep -vxF "$have" || true
}

install_packages()
{
	local missing
	missing=$(missing_packages | tr '\n' ' ')
	[ -n "$missing" ] || return 0
	[ "$(id -u)" = 0 ] || die "missing packages, install as root: $missing"
	note "installing $missing"
	export DEBIAN_FRONTEND=noninteractive
	# shellcheck disable=SC2086 # a list
	set -- -q -y --no-install-recommends -o DPkg::Lock::Timeout=600 $missing
	{
		apt-get install "$@" ||
			{ apt-get -q update && apt-get install "$@"; }
	} </dev/null >"$CACHE/packages.log" 2>&1 ||
		die "cannot install packages: $(tail -n 3 "$CACHE/packages.log")"
}

# ---- Debian's suites --------------------------------------------------------

# The mirror is the one the machine's own apt uses for Debian.
debian_mirror()
{
	local mirror
	# shellcheck disable=SC2016 # apt's own syntax
	mirror=$(apt-get indextargets --format \
		'$(CREATED_BY) $(ORIGIN) $(LABEL) $(REPO_URI)' |
		awk '$1 == "Packages" && $2 == "Debian" && $3 == "Debian" { print $4 }' |
		head -n 1)
	echo "${mirror:-$(sed -En \
		's/^(URIs:|deb +(\[[^]]*\] +)?) *([^ ]*\/debian\/?)( .*)?$/\3/p' \
		/etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null |
		head -n 1)}"
}

# A private apt: its own sources, lists and cache, and no hook of the machine.
# apt itself verifies signatures and hashes.
write_apt_conf()
{
	local mirror suite dir=$CACHE/apt
	local keyring=/usr/share/keyrings/debian-archive-keyring.gpg
	mirror=$(debian_mirror)
	[ -n "$mirror" ] || die "no Debian mirror in the machine's apt sources"
	mkdir -p "$dir/state/lists/partial" "$dir/cache/archives/partial"
	for suite in trixie trixie-backports; do
		echo "deb [arch=amd64 signed-by=$keyring] $mirror $suite main"
	done >"$dir/sources.list"
	cat >"$APT_CONF" <<-EOF
		#clear APT::Update::Pre-Invoke;
		#clear APT::Update::Post-Invoke;
		#clear APT::Update::Post-Invoke-Success;
		Dir::State "$dir/state";
		Dir::State::status "/dev/null";
		Dir::Cache "$dir/cache";
		Dir::Cache::pkgcache "pkgcache.bin";
		Dir::Cache::srcpkgcache "srcpkgcache.bin";
		Dir::Etc::SourceList "$dir/sources.list";
		Dir::Etc::SourceParts "/dev/null";
		APT::Sandbox::User "";
	EOF
}

refresh_index()
{
	local stamp=$CACHE/apt/stamp
	if [ "${1-}" != now ] && [ -n "$(find "$stamp" -mmin -720 2>/dev/null)" ]; then
		return 0
	fi
	write_apt_conf
	apt-get -c "$APT_CONF" -q update --error-on=any >"$CACHE/apt/log" 2>&1 &&
		touch "$stamp"
}

# Makes the index at most half a day old; `update_index now` makes it new.
# Fails when the mirror cannot be reached; the old index is still there then.
update_index()
{
	with_lock apt refresh_index "$@" ||
		{ note "cannot update Debian's index, see $CACHE/apt/log"; return 1; }
}

# Prints the newest version of a package in these suites, or nothing.
newest_version()
{
	apt-cache -c "$APT_CONF" madison "$1" 2>/dev/null |
		awk -F '|' '/Packages/ { gsub(/ /, "", $2); print $2 }' |
		sort -V | tail -n 1
}

# download_packages DIR NAME=VERSION...
download_packages()
{
	local dir=$1
	shift
	(cd "$dir" && apt-get -c "$APT_CONF" -q download "$@") >"$dir/log" 2>&1
}
