# SPDX-License-Identifier: BSD-2-Clause
#
# What scripts/run and scripts/test share: messages, installing the packages that
# are missing, and a build that is quiet unless it fails. Sourced, from bash.
# shellcheck shell=bash

SRC=$(dirname "$(dirname "$(realpath "${BASH_SOURCE[0]}")")")
JOBS=$(nproc)

note()
{
	printf '%s: %s\n' "${0##*/}" "$*" >&2
}

die()
{
	note "$@"
	exit 2
}

# quietly LOG COMMAND... - the output goes to the end of LOG; what a failure says
# is shown.
quietly()
{
	local log=$1 from rc=0
	shift
	mkdir -p "${log%/*}"
	touch "$log"
	from=$(wc -l <"$log")
	"$@" >>"$log" 2>&1 </dev/null || rc=$?
	[ "$rc" = 0 ] && return 0
	tail -n +"$((from + 1))" "$log" | tail -n 40 >&2
	note "failed ($rc): $*; all of it is in $log"
	return 1
}

# ---- packages ---------------------------------------------------------------

# wanted_packages KIND... - KIND as in scripts/packages
wanted_packages()
{
	sed 's/#.*//' "$SRC/scripts/packages" |
		awk -v kinds=" $* " 'NF && index(kinds, " " $2 " ") { print $1 }'
}

missing_packages()
{
	local have
	# shellcheck disable=SC2016 # dpkg-query's own syntax
	have=$(dpkg-query -W -f '${db:Status-Status} ${Package}\n' |
		sed -n 's/^installed //p')
	wanted_packages "$@" | grep -vxF "$have" || true
}

# An apt-get that asks nothing, as root; sudo asks for a password, on the terminal,
# only where somebody can type it.
apt_as_root()
{
	local apt=(env DEBIAN_FRONTEND=noninteractive apt-get -q -y
		-o DPkg::Lock::Timeout=600 "$@")
	if [ "$(id -u)" = 0 ]; then
		"${apt[@]}"
	elif { : </dev/tty; } 2>/dev/null; then
		sudo "${apt[@]}"
	else
		sudo -n "${apt[@]}"
	fi
}

# install_missing KIND...
install_missing()
{
	local missing log=$SRC/build/packages.log
	command -v dpkg-query >/dev/null ||
		die "this is not Debian (no dpkg-query): install what scripts/packages lists and build with cmake, see README.md"
	missing=$(missing_packages "$@" | xargs)
	[ -n "$missing" ] || return 0
	if [ "$(id -u)" != 0 ] && ! command -v sudo >/dev/null; then
		die "these packages are missing, and there is neither root nor sudo to install them: $missing"
	fi
	note "installing $missing"
	quietly "$log" apt_as_root update ||
		die "cannot update apt's index, so cannot install: $missing"
	# shellcheck disable=SC2086 # a list
	quietly "$log" apt_as_root install --no-install-recommends $missing ||
		die "cannot install: $missing"
	missing=$(missing_packages "$@" | xargs)
	[ -z "$missing" ] || die "still missing after apt-get: $missing"
}

# ---- build ------------------------------------------------------------------

# build DIR CMAKE-OPTION... - configures and builds in DIR: all, or what `target` names
target=all
build()
{
	local dir=$1 log=$1/build.log
	shift
	mkdir -p "$dir"
	: >"$log"
	quietly "$log" cmake -G Ninja -S "$SRC" -B "$dir" "$@" &&
		quietly "$log" ninja -C "$dir" -j "$JOBS" "$target"
}
