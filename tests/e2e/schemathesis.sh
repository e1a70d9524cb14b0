#!/bin/sh
# The daemon and the fuzzer in a network of their own with nothing but loopback in it: what is made
# up may be anybody's address. To be run as: unshare -n tests/e2e/schemathesis.sh LSS ST DIR PORT
set -u
lss=$1 st=$2 dir=$3 port=$4
here=$(cd "$(dirname "$0")" && pwd)
ip link set lo up || exit 1
ip -o link show up | grep -qv ': lo:' && { echo "not a network of its own"; exit 1; }
printf "mode: standalone\nserver: { port: %s }\ncamera: { scan_enabled: false, allow_loopback: true }\nlss: { ffmpeg: { path: '%s' } }\n" \
  "$port" "$here/../support/fake_ffmpeg" >"$dir/lss.yaml"
"$lss" run --config "$dir/lss.yaml" >"$dir/lss.log" 2>&1 &
daemon=$!
cd "$dir" || exit 1
timeout 240 "$st" --config-file "$here/schemathesis.toml" run "http://127.0.0.1:$port/api/openapi.json" --wait-for-schema 20 \
  --continue-on-failure --max-failures 40 --max-time 60 --seed 7 --request-timeout 30 --no-color
status=$?
kill -0 "$daemon" || { echo "the daemon has ended"; status=3; }
kill "$daemon"
wait "$daemon" || { echo "the daemon ended with $?"; status=3; }
grep -E 'panic|ERROR.*fault of lss' "$dir/lss.log" && status=3
exit $status
