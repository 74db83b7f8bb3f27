#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# The command `pinmem` as its users meet it: exit codes, sentences, tables, JSON,
# the terminal, other users' rights. Usage: test_tool.sh PATH_TO_pinmem
set -u

PINMEM=$(realpath -- "${1:?usage: $0 PATH_TO_pinmem}")
[ -x "$PINMEM" ] || { echo "$PINMEM cannot be run"; exit 2; }
DIR=$(mktemp -d "${TMPDIR:-/var/tmp}/pinmem-test-XXXXXX")
trap 'rm -rf "$DIR"' EXIT
chmod 755 "$DIR"
OUT=$DIR/stdout ERR=$DIR/stderr
passed=0 failed=0 skipped=0

ok()
{
	passed=$((passed + 1))
	echo "ok    $name"
}

not_ok()
{
	failed=$((failed + 1))
	echo "FAIL  $name: $*"
	sed 's/^/        out: /' "$OUT" | head -n 12
	sed 's/^/        err: /' "$ERR" | head -n 12
}

skip()
{
	skipped=$((skipped + 1))
	echo "skip  $name: $*"
}

# Runs a command; its exit code is in $code.
run()
{
	"$@" >"$OUT" 2>"$ERR" </dev/null
	code=$?
}

# expect NAME CODE STREAM PATTERN COMMAND...: exit code and a pattern on stdout,
# stderr, or (none) nothing on either.
expect()
{
	name=$1
	local want=$2 stream=$3 pattern=$4
	shift 4
	run "$@"
	if [ "$code" != "$want" ]; then
		not_ok "exit code $code, wanted $want"
	elif [ "$stream" = out ] && ! grep -Eq -- "$pattern" "$OUT"; then
		not_ok "no '$pattern' on stdout"
	elif [ "$stream" = err ] && ! grep -Eq -- "$pattern" "$ERR"; then
		not_ok "no '$pattern' on stderr"
	elif [ "$stream" = err ] && [ "$want" = 2 ] && [ -s "$OUT" ]; then
		not_ok "a wrong command line printed on stdout"
	else
		ok
	fi
}

# also NAME STREAM PATTERN: something more about the last run.
also()
{
	name=$1
	local file=$OUT
	[ "$2" = out ] || file=$ERR
	if grep -Eq -- "$3" "$file"; then
		ok
	else
		not_ok "no '$3'"
	fi
}

never()
{
	name=$1
	if grep -Eq -- "$2" "$OUT" "$ERR"; then
		not_ok "there is '$2'"
	else
		ok
	fi
}

# The last run printed one JSON value and nothing else; with a Python expression
# over it, `j`, that must be true.
json()
{
	name=$1
	if ! command -v python3 >/dev/null; then
		skip "no python3"
	elif python3 -c 'import json,sys
j = json.load(open(sys.argv[1]))
sys.exit(0 if eval(sys.argv[2]) else 3)' "$OUT" "${2:-True}" 2>>"$ERR"; then
		ok
	else
		not_ok "not JSON, or not true: ${2:-}"
	fi
}

# As an ordinary user with this RLIMIT_MEMLOCK in KiB; needs root.
as_nobody()
{
	local limit=$1
	shift
	(
		ulimit -l "$limit"
		exec setpriv --reuid 65534 --regid 65534 --clear-groups \
			--inh-caps=-all --bounding-set=-all "$@"
	)
}

is_root()
{
	[ "$(id -u)" = 0 ] && command -v setpriv >/dev/null
}

# A copy where everybody may run it: the build directory may be closed to others.
open_copy()
{
	mkdir -p "$DIR/bin"
	cp "$PINMEM" "$DIR/bin/pinmem"
	ldd "$PINMEM" | awk '/libpinmem/ { print $3 }' | while read -r lib; do
		cp "$lib" "$DIR/bin/"
	done
	chmod -R a+rX "$DIR/bin"
	NOBODY_PINMEM=$DIR/bin/pinmem
	export LD_LIBRARY_PATH=$DIR/bin${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
}

# Nothing of the tool's is left in a directory and in /dev/shm. There may be other
# runs on this machine: what is gone after a while was theirs.
leftovers()
{
	name=$1
	local file files tries=60
	mapfile -t files < <(find "$2" /dev/shm -maxdepth 1 -name 'pinmem-??????')
	for file in "${files[@]}"; do
		while [ -e "$file" ] && [ $tries -gt 0 ]; do
			tries=$((tries - 1))
			sleep 0.5
		done
		if [ -e "$file" ]; then
			not_ok "$file was left behind"
			return
		fi
	done
	ok
}

# ------------------------------------------------------------- command line

command_line()
{
	local cmd
	expect "--version names a version" 0 out '^pinmem [0-9]+\.[0-9]+\.[0-9]+$' \
		"$PINMEM" --version
	expect "--help lists the commands" 0 out '^  doctor ' "$PINMEM" --help
	expect "help COMMAND works too" 0 out '^usage: pinmem demo' "$PINMEM" help demo
	for cmd in demo doctor check bench; do
		expect "$cmd --help" 0 out "^usage: pinmem $cmd" "$PINMEM" $cmd --help
		expect "$cmd: an unknown option is told" 2 err "$cmd.*--nonsense" \
			"$PINMEM" $cmd --nonsense
	done
	expect "no command is wrong usage" 2 err '^usage: pinmem' "$PINMEM"
	expect "an unknown command is told" 2 err "no command 'frob'" "$PINMEM" frob
	expect "an unknown global option is told" 2 err "no option '--frob'" "$PINMEM" --frob
	expect "help for an unknown command" 2 err "no command 'frob'" "$PINMEM" help frob
	expect "an unknown short option is told" 2 err "'-z'" "$PINMEM" demo -z
	expect "a missing value is told" 2 err 'wants a value' "$PINMEM" demo --size
	expect "a value too many is told" 2 err 'takes no value' "$PINMEM" demo --json=1
	expect "a word too many is told" 2 err 'one word too many' "$PINMEM" demo extra
	expect "doctor takes no operand" 2 err 'one word too many' "$PINMEM" doctor extra
	expect "an unknown backend is told" 2 err 'not .cuda' "$PINMEM" demo --backend cuda
	expect "a device and io_uring contradict" 2 err 'names a verbs device' \
		"$PINMEM" demo --device rxe0 --backend io_uring
	local size
	for size in '' 0 -1 +1 1X 1KK 1iB 99999999999999999999 9999999P 0x10 ' 1' 1.5G; do
		expect "--size '$size' is wrong" 2 err '--size' "$PINMEM" demo --size "$size"
	done
	expect "bench without a name" 2 err 'name one thing' "$PINMEM" bench
	expect "bench with an unknown name" 2 err "no bench 'frob'" "$PINMEM" bench frob
	for size in 0 -1 x 1x nan inf 4000; do
		expect "--seconds $size is wrong" 2 err '--seconds' \
			"$PINMEM" bench register --seconds "$size"
	done
	expect "bench: a plot of another kind" 2 err "not 'x.gif'" \
		"$PINMEM" bench cache --plot x.gif
	expect "bench register has no plot" 2 err 'no plot' \
		"$PINMEM" bench register --plot x.svg
	expect "bench: --json= without a name" 2 err 'name of a file' \
		"$PINMEM" bench cache --json=
	expect "check without a target" 2 err 'name a file' "$PINMEM" check
	expect "an unknown access is told" 2 err "not 'x'" "$PINMEM" check --anon 4K --access x
	expect "an empty access is told" 2 err "not ''" "$PINMEM" check --anon 4K --access ''
	expect "an unknown policy is told" 2 err "not 'pin'" "$PINMEM" check --anon 4K --policy pin
	expect "a policy too long is told" 2 err 'at most 4' \
		"$PINMEM" check --anon 4K --policy odp,odp,odp,odp,odp
	expect "a directory that is none" 2 err 'is not a directory' \
		"$PINMEM" demo --dir "$DIR/none"
	name="a full stdout is an error"
	"$PINMEM" --version >/dev/full 2>"$ERR"
	code=$?
	: >"$OUT"
	if [ $code = 1 ] && grep -q 'cannot write' "$ERR"; then ok; else not_ok "code $code"; fi
}

# -------------------------------------------------------------------- check

make_files()
{
	head -c 1M /dev/urandom >"$DIR/file"
	: >"$DIR/empty"
	mkfifo "$DIR/fifo"
	head -c 10000 /dev/urandom >"$DIR/odd length"
	printf x >"$DIR/$(printf 'bad\033[31m\377name')"
}

check_memory()
{
	expect "anonymous memory may be pinned" 0 out 'Verdict: pin' "$PINMEM" check --anon 1M
	expect "a TiB is judged as quickly" 0 out '1 TiB.*pin$' "$PINMEM" check --anon 1T
	expect "memfd" 0 out 'shmem' "$PINMEM" check --memfd 1M
	expect "a TiB of memfd takes no memory" 0 out 'shmem' "$PINMEM" check --memfd 1T
	expect "shared memory" 0 out 'shmem' "$PINMEM" check --shm 1M
	expect "several at once" 0 out 'memfd' "$PINMEM" check --anon 64K --memfd 64K
	expect "--len cuts" 0 out '0x1000 +8 KiB' "$PINMEM" check --anon 1M --offset 4K --len 8K
	expect "--offset past the end" 1 out '--offset is' "$PINMEM" check --anon 4K --offset 1M
	expect "--len past the end" 1 out '--len is' "$PINMEM" check --anon 4K --len 8K
	expect "mlock is told as such" 0 out 'device of mlock' \
		"$PINMEM" check --backend mlock --anon 64K
	if [ "$(cat /proc/sys/vm/nr_hugepages 2>/dev/null)" = 0 ]; then
		expect "no hugetlb pages: says how to get some" 1 out 'nr_hugepages' \
			"$PINMEM" check --hugetlb 2M
	fi
	expect "JSON of memory" 0 out . "$PINMEM" check --json --anon 1M --memfd 64K
	json "… has two targets, both pin" \
		'[t["verdict"]["action"] for t in j["targets"]] == ["pin", "pin"]'
	json "… and the need against the limit" \
		'j["targets"][0]["memlock"]["need"] == 1 << 20'
	expect "as an unknown verbs device" 1 err '^pinmem: .*verbs device' \
		"$PINMEM" check --device nodev0 --anon 4K
	expect "… also as JSON" 1 out '"error"' "$PINMEM" check --json --device nodev0 --anon 4K
	json "… which is one value" '"verbs device" in j["error"]'
}

check_files()
{
	make_files
	expect "page cache for writing is refused" 1 out 'Verdict: refuse \(EFAULT\)' \
		"$PINMEM" check --backend io_uring "$DIR/file"
	also "… with the way out" out 'With --policy stage'
	expect "… and can be staged" 0 out 'Verdict: stage' \
		"$PINMEM" check --backend io_uring --policy stage "$DIR/file"
	expect "… and be pinned if mapped private" 0 out 'Verdict: pin' \
		"$PINMEM" check --backend io_uring --private "$DIR/file"
	expect "odd lengths" 0 out '0x0 +' "$PINMEM" check --private "$DIR/odd length"
	expect "an empty file" 1 out 'is empty' "$PINMEM" check "$DIR/empty"
	expect "a directory" 1 out 'is a directory' "$PINMEM" check "$DIR"
	expect "a fifo, without waiting" 1 out 'is a pipe or socket' \
		timeout 10 "$PINMEM" check "$DIR/fifo"
	expect "no such file" 1 out 'No such file' "$PINMEM" check "$DIR/none"
	expect "/dev/zero" 0 out 'device without a size' "$PINMEM" check /dev/zero
	expect "/dev/zero with a length" 0 out '64 KiB' "$PINMEM" check --len 64K /dev/zero
	expect "/dev/null cannot be mapped" 1 out 'cannot be mapped' "$PINMEM" check /dev/null
	expect "one refused of two is a no" 1 out 'Verdict: pin' \
		"$PINMEM" check --backend io_uring --anon 4K "$DIR/file"
	expect "a file on tmpfs" 0 out 'shmem' tmpfs_check
	run "$PINMEM" check "$DIR"/bad*
	never "names cannot reach the terminal's controls" "$(printf '\033')"
	expect "JSON of files" 1 out . "$PINMEM" check --backend io_uring --json "$DIR/file" "$DIR"/bad*
	json "… names that are no UTF-8 too" \
		'j["targets"][0]["verdict"]["error"] == "EFAULT" and len(j["targets"]) == 2'
}

tmpfs_check()
{
	local file
	file=$(mktemp /dev/shm/pinmem-test-XXXXXX) || return 1
	head -c 64K /dev/zero >"$file"
	"$PINMEM" check "$file"
	local rc=$?
	rm -f "$file"
	return $rc
}

check_as_nobody()
{
	chmod 644 "$DIR/file"
	expect "a file that may only be read is mapped so" 1 out 'mapped read-only' \
		as_nobody 8192 "$NOBODY_PINMEM" check "$DIR/file"
	chmod 600 "$DIR/file"
	expect "a file that may not be read" 1 out 'cannot be opened: Permission' \
		as_nobody 8192 "$NOBODY_PINMEM" check "$DIR/file"
	expect "the limit is told with its number" 0 out '1048576' \
		as_nobody 64 "$NOBODY_PINMEM" check --backend io_uring --anon 1M
}

# ------------------------------------------------------------------- doctor

doctor()
{
	expect "doctor says what can be pinned" 0 out 'You can pin up to' "$PINMEM" doctor
	also "… and the kernel's features" out '^  PROCMAP_QUERY +(yes|part|no) '
	also "… and the limits" out 'RLIMIT_MEMLOCK'
	also "… and NUMA nodes" out '^NUMA nodes'
	also "… and whether a cache works" out '^  (It works for this user: by (userfaultfd|/dev/pin_track)|No monitor works)'
	also "… and how many mappings there may be" out 'max_map_count: a process may have [0-9]+'
	never "… without colour in a pipe" "$(printf '\033')"
	expect "doctor --json" 0 out . "$PINMEM" doctor --json
	json "… has a verdict and all pinners" \
		'j["verdict"]["ceiling"] > 0 and [p["name"] for p in j["pinners"]] == ["verbs", "io_uring", "pin_track", "mlock"]'
	json "… has the cache's monitor, or why there is none" \
		'(j["cache"]["monitor"] == "userfaultfd") != bool(j["cache"]["why"]) and j["cache"]["mappings"] > 0'
	is_root || return
	expect "doctor of an ordinary user" 0 out 'pin up to 8 MiB with io_uring' \
		as_nobody 8192 "$NOBODY_PINMEM" doctor
	also "… says what to do for more" out 'To pin 1 GiB'
	also "… has a cache, too, without any right" out 'It works for this user: by (userfaultfd|/dev/pin_track)'
	expect "doctor when nothing may be pinned" 1 out 'Nothing can be pinned' \
		as_nobody 0 "$NOBODY_PINMEM" doctor
}

# --------------------------------------------------------------------- demo

demo()
{
	local dir=$DIR/demo kind
	mkdir "$dir"
	chmod 1777 "$dir"
	expect "demo" 0 out 'All is as it should be' "$PINMEM" demo --quick --dir "$dir"
	for kind in 'anonymous, ' 'memfd' 'file on tmpfs' 'file, mapped shared' \
		'mapped read-only' 'a hole in it'; do
		also "… shows: $kind" out "^  $kind.* (pin|refuse|odp) "
	done
	also "… file contents verified" out '^  file, mapped shared +staged.* verified'
	also "… tells what the unpin did" out 'verified +clean +dirty'
	also "… the words of a refusal" out '-EFAULT'
	also "… the words of the limit" out 'RLIMIT_MEMLOCK'
	never "… no colour, no bar in a pipe" "$(printf '[\033\r]')"
	leftovers "… leaves nothing behind" "$dir"
	expect "demo --json" 0 out . "$PINMEM" demo --quick --json --dir "$dir"
	json "… all moved are verified, all is well" \
		'j["ok"] and len(j["moves"]) >= 5 and all(m["verified"] for m in j["moves"])'
	json "… hole and read-only are refused" \
		'{v["memory"]: v.get("error") for v in j["verdicts"]}["hole"] == "EFAULT"'
	expect "demo over mlock says resident" 0 out 'resident' \
		"$PINMEM" demo --quick --backend mlock --dir "$dir"
	expect "demo of an odd size" 0 out 'pieces of memory went out' \
		"$PINMEM" demo --quick --size 1000001 --dir "$dir"
	interrupt "$dir"
	is_root || return
	expect "demo of an ordinary user" 0 out 'That is not the 64 MiB asked for' \
		as_nobody 8192 "$NOBODY_PINMEM" demo --dir "$dir"
	also "… moves data nevertheless" out 'verified +clean +dirty'
	expect "demo when nothing may be pinned" 1 err 'nothing can be pinned here.*RLIMIT_MEMLOCK' \
		as_nobody 0 "$NOBODY_PINMEM" demo --dir "$dir"
	never "… and libibverbs is not heard" 'libibverbs'
	expect "demo where it may not write" 2 err 'may write to' \
		as_nobody 8192 "$NOBODY_PINMEM" demo --dir /proc
}

interrupt()
{
	local pid
	"$PINMEM" demo --size 64M --dir "$1" >"$OUT" 2>"$ERR" &
	pid=$!
	sleep 0.3
	kill -INT $pid 2>/dev/null
	kill -TERM $pid 2>/dev/null
	wait $pid
	code=$?
	leftovers "an interrupted demo leaves nothing behind" "$1"
	"$PINMEM" demo --size 64M --dir "$1" 2>"$ERR" | head -n 4 >"$OUT"
	leftovers "a demo that nobody reads on leaves nothing behind" "$1"
	never "… and does not complain" 'write to stdout'
}

# ----------------------------------------------------------- bench, terminal

bench()
{
	expect "bench register" 0 out '^  4 KiB +[0-9]' \
		"$PINMEM" bench register --quick --seconds 0.01 --json "$DIR/register.json"
	also "… shows its goals" out '(met|short)$'
	cp "$DIR/register.json" "$OUT" 2>>"$ERR"
	json "… has the sizes up to 256 MiB" \
		'max(l["len"] for l in j["lines"]) == 256 << 20 and j["lines"][0]["pairs"] >= 5'
	is_root || return
	expect "bench of an ordinary user skips what is too large" 0 out 'skipped' \
		as_nobody 8192 "$NOBODY_PINMEM" bench register --quick --seconds 0.01
}

# Speed is not judged here: that numbers are there, and in the JSON the same ones.
bench_cache()
{
	local plot=()
	command -v gnuplot >/dev/null && plot=(--plot "$DIR/cache.svg")
	expect "bench cache" 0 out '^ +4096 +1 +[0-9]' "$PINMEM" bench cache --quick \
		--seconds 0.05 --json "$DIR/cache.json" "${plot[@]}"
	also "… shows its goals" out '(met|short)'
	also "… measures a miss" out '^  pinmem +[0-9.]+ (ns|µs)'
	also "… and hits while somebody pins" out '^ +pinning +[0-9]'
	cp "$DIR/cache.json" "$OUT" 2>>"$ERR"
	json "… writes the JSON that it is asked for" \
		'all(l["pinmem"]["ns"] > 0 and l["pinmem"]["spread"] >= 0 for l in j["hits"] if "state" not in l) and j["miss"]["pinmem"]["raw_ns"] > 0'
	bench_cache_plot
	expect "bench cache: a JSON file that cannot be" 1 err 'none/x.json' \
		"$PINMEM" bench cache --quick --seconds 0.01 --json "$DIR/none/x.json"
	bench_cache_without
}

# Without libucx and, where that can be tried, without being allowed to pin much
bench_cache_without()
{
	local user=()
	: >"$DIR/bin/libucs.so.0"
	is_root && user=(as_nobody 8192)
	expect "bench cache without libucx has nothing to compare with" 0 out 'libucx: ' \
		"${user[@]}" "$NOBODY_PINMEM" bench cache --quick --seconds 0.02
	never "… and shows no ratio" '≥ 10 x'
	rm "$DIR/bin/libucs.so.0"
	! is_root || also "… and an ordinary user skips what is too large" out 'skipped'
}

# A run of tests/vm/pin_track_bench, in a kernel with the patch: what is said of it must
# follow from its figures, also when they are others.
bench_trackers()
{
	local recorded other=$DIR/trackers.json
	recorded=$(dirname "$(realpath "$0")")/trackers.json
	name="bench trackers without that kernel"
	if [ -e /sys/kernel/debug/pin_track_bench/run ]; then
		skip "this kernel has it"
	else
		expect "$name" 1 err 'takes a kernel with kernel/pin_track.patch' \
			"$PINMEM" bench trackers
	fi
	expect "--from is for trackers" 2 err 'not for register' \
		"$PINMEM" bench register --from "$recorded"
	echo '{"bench": "cache"}' >"$other"
	expect "bench trackers --from another bench" 1 err "its bench is 'cache'" \
		"$PINMEM" bench trackers --from "$other"
	expect "bench trackers --from no JSON" 1 err 'cannot|expected|invalid|unable' \
		"$PINMEM" bench trackers --from /dev/null
	expect "bench trackers --from FILE" 0 out 'Jan Kara, 2018-12-10.: confirmed' \
		"$PINMEM" bench trackers --from "$recorded" --out "$DIR/trackers"
	also "… shows the wrong answers" out '^  memfd +lookup +during '
	name="… and writes each figure into the CSV"
	if grep -q '^cost,anonymous,1,1,,,itree,pin_ns,[1-9]' "$DIR/trackers/trackers.csv"; then
		ok
	else
		not_ok "no such line"
	fi
	name="… and draws them"
	if ! command -v gnuplot >/dev/null; then
		skip "no gnuplot"
	elif grep -q '<svg' "$DIR/trackers/trackers-memory.svg"; then
		ok
	else
		not_ok "no such file"
	fi
	bench_trackers_judged "$recorded" "$other"
}

# The same figures but for one say something else of the sentence about it only.
bench_trackers_judged()
{
	local said='{c["sentence"]: c["verdict"] for c in j["claims"]}'
	name="bench trackers --from other figures"
	command -v python3 >/dev/null || { skip "no python3"; return; }
	python3 - "$1" "$2" <<-'EOF' || return
		import json, sys
		j = json.load(open(sys.argv[1]))
		for c in j["claims"]:
		    c["verdict"] = "nonsense"
		for c in j["cost"]:
		    if (c["pages"], c["threads"]) == (1, 1):
		        for t in c["trackers"]:
		            if t["tracker"] == "itree":
		                t["to_bias"]["pin_unpin"] = {"ratio": 0.9, "low": 0.8, "high": 1}
		                t["to_bias"]["irq_unpin"] = {"ratio": 1.2, "low": 0.9, "high": 3}
		for a in j["answers"]:
		    for t in a["trackers"]:
		        if a["transient"] in ("migration", "references") and t["tracker"] == "heuristic":
		            t["false_positives"] = t["false_negatives"] = 0
		j["answers"] = [a for a in j["answers"] if a["transient"] != "lookup"]
		json.dump(j, open(sys.argv[2], "w"))
	EOF
	expect "bench trackers --from other figures" 0 out . \
		"$PINMEM" bench trackers --from "$2" --json
	json "… refutes what they refute" \
		"[${said}[k] for k in ('The overhead e.g. for direct IO may be noticeable.', 'these page refcount are fragile')] == ['refuted'] * 2"
	json "… does not decide what is unclear, was not met or not measured" \
		"[${said}[k] for k in ('Then on IO completion you need to queue work to unpin the pages again', 'here are the case when it does not: - page being migrated', '- page cache lookup')] == ['not decided'] * 3"
	json "… and takes no verdict from the file" '"nonsense" not in json.dumps(j)'
}

bench_cache_plot()
{
	name="… and draws it as SVG and as PNG"
	if ! command -v gnuplot >/dev/null; then
		skip "no gnuplot"
	elif grep -q '<svg' "$DIR/cache.svg" && grep -q 'pinmem, 2 threads' "$DIR/cache.svg" &&
		[ "$(head -c 4 "$DIR/cache.png" | tail -c 3)" = PNG ]; then
		ok
	else
		not_ok "no such files, or not with two curves"
	fi
}

top()
{
	local worker found=n
	expect "top: a wrong PID" 2 err 'no process number' "$PINMEM" top 12x
	expect "top: --watch with --json" 2 err 'cannot go on' "$PINMEM" top --watch 1 --json
	expect "top: a process without regions" 1 err 'publishes no pinned regions' \
		"$PINMEM" top $$
	"$PINMEM" bench register --seconds 5 >/dev/null 2>&1 &
	worker=$!
	name="top sees the regions of another process"
	for _ in $(seq 100); do
		run "$PINMEM" top --json "$worker"
		if [ "$code" = 0 ]; then
			found=y
			break
		fi
		sleep 0.05
	done
	if [ "$found" = y ]; then ok; else not_ok "none in 5 s"; fi
	json "top: a region in JSON" "j['regions'][0]['pid'] == $worker and \
j['regions'][0]['backend'] == 'io_uring' and j['regions'][0]['len'] > 0"
	kill "$worker"
	wait "$worker" 2>/dev/null
}

terminal()
{
	name="colour and a bar on a terminal"
	if ! command -v script >/dev/null; then
		skip "no script(1)"
		return
	fi
	script -qec "$PINMEM demo --quick --dir $DIR" /dev/null >"$OUT" 2>"$ERR" </dev/null
	if grep -q "$(printf '\033\\[1m')" "$OUT"; then ok; else not_ok "no colour"; fi
	name="NO_COLOR is obeyed"
	NO_COLOR=1 script -qec "$PINMEM doctor" /dev/null >"$OUT" 2>"$ERR" </dev/null
	if grep -q "$(printf '\033\\[[0-9]*m')" "$OUT"; then not_ok "colour"; else ok; fi
}

: >"$OUT"
: >"$ERR"
command_line
if is_root; then
	open_copy
fi
check_memory
name="registering through io_uring"
run "$PINMEM" check --backend io_uring --anon 4K
if [ "$code" = 0 ]; then
	check_files
	is_root && check_as_nobody
	doctor
	demo
	bench
	bench_cache
	bench_trackers
	top
	terminal
else
	skip "io_uring is not here: $(head -n 1 "$ERR")"
fi
[ "$skipped" = 0 ] || echo "$skipped skipped"
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
