#!/usr/bin/env bash
# bids-validator-deno 3.0.2: with --recursive a derivative's own .bidsignore does not count.
#
# A .bidsignore lies at the top of a data set, and a derivative in derivatives/NAME is a data set of its own.
# Validated by itself, what its .bidsignore names is passed over; reached with --recursive from the raw data
# above it, the same file is an error.
#
# Seen: "alone: 0; below the raw data: 1 NOT_INCLUDED"
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install --quiet bids-validator-deno==3.0.2
derivative=$place/raw/derivatives/tool
mkdir -p "$place/raw/sub-01/anat" "$derivative"
echo '{"Name": "raw", "BIDSVersion": "1.10.0"}' >"$place/raw/dataset_description.json"
echo 'A data set of one text file.' >"$place/raw/README"
cat >"$derivative/dataset_description.json" <<'JSON'
{"Name": "tool", "BIDSVersion": "1.10.0", "DatasetType": "derivative", "GeneratedBy": [{"Name": "tool"}]}
JSON
echo 'What a tool made.' >"$derivative/README"
echo 'extra.txt' >"$derivative/.bidsignore"
echo 'not of BIDS' >"$derivative/extra.txt"

said_of() { # folder, options: how many issues name the file
    "$place/venv/bin/bids-validator-deno" "$@" --json --ignoreNiftiHeaders >"$place/found.json" 2>/dev/null || true
    python3 - "$place/found.json" <<'PY'
import json
import sys


def issues(found):
    if isinstance(found, dict):
        for key, value in found.items():
            if key == "issues" and isinstance(value, list):
                yield from value
            else:
                yield from issues(value)
    elif isinstance(found, list):
        for value in found:
            yield from issues(value)


named = [i["code"] for i in issues(json.load(open(sys.argv[1]))) if "extra.txt" in i.get("location", "")]
print(len(named), *sorted(set(named)))
PY
}

alone=$(said_of "$derivative")
below=$(said_of "$place/raw" --recursive)
echo "alone: $alone; below the raw data: $below"
test "$alone" = "0" && test "$below" = "1 NOT_INCLUDED"
