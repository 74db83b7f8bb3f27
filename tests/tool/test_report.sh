#!/bin/bash
# SPDX-License-Identifier: BSD-2-Clause
#
# The report's page as a browser shows it, light and dark: it is drawn, in the colours
# asked for, and no two words of a plot overlap. Wants Debian's chromium, which is
# large: of the full ./scripts/test only. Usage: test_report.sh PATH_TO_pinmem
# KEEP=DIR keeps page and pictures there.
set -eu -o pipefail

PINMEM=$(realpath -- "${1:?usage: $0 PATH_TO_pinmem}")
HERE=$(dirname "$(realpath "$0")")
command -v chromium >/dev/null || { echo "no chromium"; exit 77; }
DIR=$(mktemp -d "${TMPDIR:-/var/tmp}/pinmem-test-XXXXXX")
trap 'rm -rf "$DIR"' EXIT

# browser ARGUMENT... - a profile of its own, and never more than a minute
browser()
{
	timeout 120 chromium --headless --no-sandbox --disable-gpu --disable-dev-shm-usage \
		--user-data-dir="$DIR/profile" --hide-scrollbars --window-size=1100,2400 \
		"$@" 2>"$DIR/browser.log" || {
		cat "$DIR/browser.log"
		return 1
	}
}

# The page measures itself: how many plots, and which words of one overlap.
measuring_copy()
{
	cat "$1" - <<-'END'
		<script>
		let bad = [], plots = document.querySelectorAll("svg");
		for (const svg of plots) {
			const words = [...svg.querySelectorAll("text")]
				.filter(t => t.textContent.trim())
				.map(t => [t.textContent.trim(), t.getBoundingClientRect()]);
			for (let i = 0; i < words.length; i++)
				for (let k = 0; k < i; k++) {
					const [a, b] = [words[i][1], words[k][1]];
					const w = Math.min(a.right, b.right) - Math.max(a.left, b.left);
					const h = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
					if (w > 2 && h > 4)
						bad.push(words[i][0] + " / " + words[k][0]);
				}
		}
		document.body.dataset.result = "plots " + plots.length + ", wide "
			+ (document.documentElement.scrollWidth > innerWidth)
			+ ", overlaps " + bad.length + " " + bad.join("; ");
		</script>
	END
}

for machine in file rdma; do
	cp -r "$HERE/../report/$machine" "$DIR/"
	"$PINMEM" bench report "$DIR/$machine" >/dev/null
	measuring_copy "$DIR/$machine/report.html" >"$DIR/copy.html"
	browser --dump-dom "file://$DIR/copy.html" >"$DIR/dom"
	result=$(grep -o 'data-result="[^"]*"' "$DIR/dom" || true)
	echo "$machine: $result"
	grep -Eq 'plots [1-9][0-9]*, wide false, overlaps 0' <<<"$result"
	for scheme in 0:dark 1:light; do
		browser --blink-settings=preferredColorScheme="${scheme%:*}" \
			--screenshot="$DIR/$machine-${scheme#*:}.png" \
			"file://$DIR/$machine/report.html"
		python3 "$HERE/check_picture.py" "${scheme#*:}" "$DIR/$machine-${scheme#*:}.png"
	done
done
if [ -n "${KEEP-}" ]; then
	mkdir -p "$KEEP"
	cp "$DIR"/*.png "$KEEP"
fi
