#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# `pinmem bench strategies` and `pinmem bench report`: what is measured is in the JSON,
# what is plotted too, and the advice follows from the numbers. Speed is not judged.
# Usage: test_bench.sh PATH_TO_pinmem
set -u

PINMEM=$(realpath -- "${1:?usage: $0 PATH_TO_pinmem}")
HERE=$(dirname "$(realpath "$0")")
RECORDED=$HERE/../report
DIR=$(mktemp -d "${TMPDIR:-/var/tmp}/pinmem-test-XXXXXX")
trap 'rm -rf "$DIR"' EXIT
failed=0 passed=0

# test NAME COMMAND... - its output is shown if it fails
test_that()
{
	local name=$1
	shift
	if "$@" >"$DIR/log" 2>&1 </dev/null; then
		passed=$((passed + 1))
		echo "ok    $name"
	else
		failed=$((failed + 1))
		echo "FAIL  $name"
		tail -n 12 "$DIR/log"
	fi
}

# says PATTERN CODE COMMAND... - exit code, and a pattern in what it prints
says()
{
	local pattern=$1 want=$2 rc=0 out
	shift 2
	out=$("$@" 2>&1) || rc=$?
	echo "exit code $rc, wanted $want: $out"
	[ "$rc" = "$want" ] && grep -Eq -- "$pattern" <<<"$out"
}

# A gnuplot that keeps the scripts that it draws.
record_gnuplot()
{
	mkdir "$DIR/bin" "$DIR/scripts"
	cat >"$DIR/bin/gnuplot" <<-END
		#!/bin/bash
		script=\$(mktemp "$DIR/scripts/XXXXXX")
		cat >"\$script"
		PATH=\${PATH#*:} exec gnuplot "\$script"
	END
	chmod +x "$DIR/bin/gnuplot"
	PATH=$DIR/bin:$PATH
}

# advice NAME - the sentences of a report
advice()
{
	"$PINMEM" bench report "$DIR/$1" >&2 &&
		sed -n '/<ul class=advice>/,/<\/ul>/p' "$DIR/$1/report.html" >"$DIR/$1.advice" &&
		[ "$(grep -c '<li>' "$DIR/$1.advice")" -gt 3 ]
}

# The same numbers but for those of some strategies: times and CPU times multiplied.
other_machine() # FROM TO TIME,CPU STRATEGY...
{
	mkdir -p "$DIR/$2"
	python3 - "$DIR/$1/strategies.json" "$DIR/$2/strategies.json" "${@:3}" <<-'END'
		import json, sys
		j = json.load(open(sys.argv[1]))
		time, cpu = (float(n) for n in sys.argv[3].split(","))
		names = sys.argv[4:]
		for p in j["points"]:
		    for r in p["results"]:
		        if r["strategy"] not in names:
		            continue
		        for key in ("ns", "begin_ns", "end_ns", "pin_ns"):
		            r[key] *= time
		        r["cpu_ns"] *= cpu
		        for key, n in ("to_copy", time), ("cpu_to_copy", cpu):
		            r[key] = {k: v * n for k, v in r[key].items()}
		json.dump(j, open(sys.argv[2], "w"))
	END
}

has_advice()
{
	grep -Eq -- "$2" "$DIR/$1.advice" || {
		cat "$DIR/$1.advice"
		false
	}
}

lacks_advice()
{
	! has_advice "$@"
}

differs()
{
	! cmp "$DIR/$1.advice" "$DIR/$2.advice"
}

# Nothing on the page comes from elsewhere, and nothing in it is run.
self_contained()
{
	! grep -oiE '<(script|link|iframe|img|object)[^>]*>|(src|href)="?(http|//|file)[^ ]*|@import|url\(https?:' "$1"
}

command_line()
{
	test_that "all wants --out" says 'wants --out' 2 "$PINMEM" bench all
	test_that "report wants a directory" says 'one directory' 2 "$PINMEM" bench report
	test_that "a time limit of nothing" says 'time-limit takes' 2 \
		"$PINMEM" bench strategies --time-limit 0
	mkdir "$DIR/empty" "$DIR/bad" "$DIR/other"
	test_that "a directory without results" says 'no .json file' 1 \
		"$PINMEM" bench report "$DIR/empty"
	echo '{ "bench": ' >"$DIR/bad/x.json"
	test_that "a file that is no JSON is told with its line" says 'x.json, line' 1 \
		"$PINMEM" bench report "$DIR/bad"
	echo '{}' >"$DIR/other/x.json"
	test_that "a file of something else" says 'no result of pinmem bench' 1 \
		"$PINMEM" bench report "$DIR/other"
	test_that "no such directory" says 'cannot be read' 1 \
		"$PINMEM" bench report "$DIR/none"
}

measured()
{
	local out=$DIR/out
	test_that "bench strategies" "$PINMEM" bench strategies --quick --time-limit 4 \
		--dir "$DIR" --out "$out"
	test_that "… all strategies are in the JSON: measured, or with the reason why not" \
		python3 "$HERE/check_bench.py" strategies "$out/strategies.json"
	test_that "… the CSV has the same results" \
		python3 "$HERE/check_bench.py" csv "$out/strategies.json" "$out/strategies.csv"
	test_that "… every plotted number is in the JSON" \
		python3 "$HERE/check_bench.py" plots "$out/strategies.json" "$DIR"/scripts/*
	test_that "… no file is left behind" \
		says '^ *$' 1 find "$DIR" -maxdepth 1 -name 'pinmem-*' -exec false {} +
	test_that "… makes a report" "$PINMEM" bench report "$out"
	rm -f "$DIR"/scripts/*
	test_that "… a directory where no file can be made is told" \
		says 'file: cannot make a file in /proc' 1 "$PINMEM" bench strategies --quick --time-limit 2 \
		--dir /proc
}

recorded()
{
	cp -r "$RECORDED/file" "$RECORDED/rdma" "$DIR/"
	test_that "a report of recorded numbers" advice file
	test_that "… and of another machine's" advice rdma
	test_that "… whose advice is another one" differs file rdma
	test_that "… with its RDMA device" has_advice rdma 'RDMA, write'
	test_that "… the first one has the cache's hits" has_advice file 'A hit of the cache'
	test_that "… needs no other file" self_contained "$DIR/file/report.html"
	test_that "… every plotted number is in the JSON" \
		python3 "$HERE/check_bench.py" plots "$DIR/file/strategies.json,$DIR/file/cache.json,$DIR/rdma/strategies.json" "$DIR"/scripts/*
	other_machine file dear 50,50 plain pin-per-io pin-once cached
	test_that "where pinning is dear" advice dear
	test_that "… copying is advised" has_advice dear 'used once: from 4 KiB on, (copy|stage)'
	test_that "… registration beats it nowhere" \
		has_advice dear 'File, write: in time, .* at no measured size .* with no measured reuse'
	other_machine file cheap 0.01,0.01 pin-once
	test_that "where pinning costs nothing" advice cheap
	test_that "… it is advised" \
		has_advice cheap 'used once: from 4 KiB on, register once'
	test_that "… registration beats copying everywhere" \
		has_advice cheap 'at every measured size .* from the first use on'
	test_that "… advice differs" differs dear cheap
	other_machine file slow 1000,0.01 pin-once
	test_that "where pinning takes long, and little of the CPU" advice slow
	test_that "… it is not advised" lacks_advice slow 'used .*: .*register once'
	test_that "… nor is it faster" has_advice slow 'File, write: in time, .* at no measured size'
	test_that "… but takes less CPU time" \
		has_advice slow 'File, write: in CPU time, .* at every measured size'
}

command -v gnuplot >/dev/null || { echo "no gnuplot"; exit 77; }
record_gnuplot
command_line
measured
recorded
echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
