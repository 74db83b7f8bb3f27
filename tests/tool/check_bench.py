#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-2-Clause
"""Checks of what `pinmem bench` wrote, for test_bench.sh.

strategies JSON        each strategy at each point is measured, or told why not
csv JSON CSV           the same results
plots JSON,... SCRIPT...   each number that gnuplot was given is in the JSON
"""
import csv
import json
import re
import sys


def fail(*what):
    print(*what)
    sys.exit(1)


def strategies(name):
    j = json.load(open(name))
    all_names = {s["strategy"] for s in j["strategies"]}
    if not j["points"]:
        fail("nothing was measured", j["missing"])
    for p in j["points"]:
        told = {r["strategy"] for r in p["results"]} | set(p.get("no_time", []))
        for m in j["missing"]:
            if (m["device"], m["pages"]) == (p["device"], p["pages"]):
                if not m["why"]:
                    fail("no reason", m)
                told |= set(m["strategies"])
        if told != all_names:
            fail("silently missing", all_names - told, "at", p)
        for r in p["results"]:
            if not (r["ns"] > 0 and r["cpu_ns"] > 0 and r["runs"] >= 1):
                fail("no numbers", r)
    if not any(r["strategy"] == "copy" for p in j["points"] for r in p["results"]):
        fail("copying was not measured")
    if not {"odp-cold", "mlock", "ucx", "raw-once", "stage", "cached"} <= all_names:
        fail("strategies are missing", all_names)
    if any(m["state"] == "failed" for m in j["missing"]):
        fail("failed", j["missing"])


def same_results(name, table):
    j = json.load(open(name))
    want = [(p["device"], p["direction"], p["pages"], p["threads"], p["size"],
             p["reuse"], r["strategy"], r["ns"]) for p in j["points"] for r in p["results"]]
    rows = [(r["device"], r["direction"], r["pages"], int(r["threads"]), int(r["size"]),
             int(r["reuse"]), r["strategy"], float(r["ns"]))
            for r in csv.DictReader(open(table))]
    if len(want) != len(rows):
        fail(len(want), "results,", len(rows), "lines")
    for a, b in zip(want, rows):
        if a[:-1] != b[:-1] or abs(a[-1] - b[-1]) > 1e-4 * a[-1]:
            fail(a, b)


def numbers(value, into):
    if isinstance(value, dict):
        for v in value.values():
            numbers(v, into)
    elif isinstance(value, list):
        for v in value:
            numbers(v, into)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        into.append(float(value))


def plots(names, scripts):
    there, seen = [], 0
    for name in names.split(","):
        value = json.load(open(name))
        numbers(value, there)
    keys = {float("%.4g" % n) for n in there}
    for script in scripts:
        text = open(script).read()
        given = re.findall(r"^([0-9.e+-]+) ([0-9.e+-]+)$", text, re.M)
        if "plot" not in text or not given:
            fail(script, "plots nothing:", text[:300])
        for x, y in given:
            seen += 1
            for n in (x, y):
                if float("%.4g" % float(n)) not in keys and not any(
                        abs(float(n) - t) <= 1e-3 * abs(t) for t in there):
                    fail(script, "plots", n, "which is in no JSON")
        for x in re.findall(r"from first ([0-9.e+-]+), graph 0 to", text):
            if "crossovers" in value and not any(
                    abs(float(x) - t) <= 1e-3 * abs(t) for t in there):
                fail(script, "marks", x, "which is in no JSON")
    print(seen, "numbers in", len(scripts), "plots")
    if len(scripts) < 5 or seen < 10:
        fail("too few of them")


if __name__ == "__main__":
    {"strategies": strategies, "csv": same_results,
     "plots": lambda names, *scripts: plots(names, scripts)}[sys.argv[1]](*sys.argv[2:])
