# The three binaries: what they are, and that each works, the foreign ones under qemu-user.
# shellcheck shell=bash

max_armv7=$((7500 * 1000)) max_armv7_without_relay=$((5000 * 1000))

# smoke TRIPLE EMULATOR...: a node's life against the cloud, over TLS, with a child process.
smoke() {
  local triple=$1 bin=$dist/$1/lss name=${1%%-*} port node config pid child status
  shift
  local run=("$@" "$bin")
  check "$name: says what it is" test "$("${run[@]}" version 2>&1 | grep -c "$triple")" = 1 || return
  cloud_start || { bad "$name: the cloud stand-in does not start"; return; }
  port=$(free_port) node=lss-smoke-$name config=$scratch/$name.yaml
  node_config "$config" "smoke-$name" "$port" "$root/tests/support/fake_ffmpeg"
  env -i PATH="$PATH" "${run[@]}" run --config "$config" </dev/null >"$scratch/$name.log" 2>&1 &
  pid=$!
  pids+=("$pid")
  check "$name: TLS to RCS: registers" within 20 came ' Register '
  check "$name: TLS and websocket to Ably: heartbeats" within 20 came "lss:$node:status .*HEARTBEAT"
  check "$name: REST is ready" within 10 curl -fsS "http://127.0.0.1:$port/readyz"
  start_order "$node" t1 r1
  check "$name: a command starts a child" within 20 came "\"requestId\":\"r1\".*\"success\":true" &&
    child=$(grep -oE '"processId":[0-9]+' "$cloud/log" | tail -n 1 | cut -d: -f2)
  check "$name: the child runs" kill -0 "${child:-0}"
  order "$node" STOP_STREAM '{"taskId":"t1","requestId":"r2"}'
  check "$name: a command stops it" within 20 came "\"requestId\":\"r2\".*\"success\":true"
  check "$name: the child is gone" gone "${child:-1}"
  start_order "$node" t2 r3
  within 20 came "\"requestId\":\"r3\".*\"success\":true"
  child=$(grep -oE '"processId":[0-9]+' "$cloud/log" | tail -n 1 | cut -d: -f2)
  kill -TERM "$pid"
  check "$name: SIGTERM ends it" within 20 gone "$pid"
  wait "$pid"
  status=$?
  check "$name: with exit code 0" test "$status" = 0
  check "$name: and the child with it" gone "${child:-1}"
  check "$name: RCS was told" came ' Callback .*"NODE_SHUTDOWN"'
  cloud_check "$name: the cloud has no complaint"
  printf 'lss\n  broken: [\n' >"$scratch/broken.yaml"
  "${run[@]}" run --config "$scratch/broken.yaml" >/dev/null 2>&1
  check "$name: exit code 2 for a bad configuration" test $? = 2
}

test_binaries() {
  local triple bin size first
  if ! check "tools are there" packaging/tools; then return; fi
  for triple in x86_64-unknown-linux-musl aarch64-unknown-linux-musl armv7-unknown-linux-musleabihf; do
    bin=$dist/$triple/lss
    check "${triple%%-*}: builds" nice -n 10 packaging/build "${triple%%-*}" || continue
    check "${triple%%-*}: is static" no_interpreter "$bin"
    check "${triple%%-*}: carries no path of this machine" no_paths "$bin"
  done
  bin=$dist/armv7-unknown-linux-musleabihf/lss
  if [ -f "$bin" ]; then
    size=$(stat -c %s "$bin")
    check "armv7: $size bytes, under 7.5 MB" test "$size" -lt "$max_armv7"
    first=$(sha256sum <"$bin")
    check "armv7: built in another place, the same bytes" rebuilt_same "$first"
    if check "armv7, without the relay: builds" nice -n 10 packaging/build --without-relay armv7; then
      size=$(stat -c %s "$bin-without-relay")
      check "armv7, without the relay: $size bytes, under 5 MB" test "$size" -lt "$max_armv7_without_relay"
    fi
  fi

  smoke x86_64-unknown-linux-musl
  if need qemu-arm-static qemu-user-static; then
    smoke aarch64-unknown-linux-musl qemu-aarch64-static
    smoke armv7-unknown-linux-musleabihf qemu-arm-static
  else
    lacking "aarch64, armv7: there is no qemu-user-static to run them"
  fi
}

no_interpreter() { ! readelf -lW "$1" | grep -q INTERP && ! readelf -dW "$1" | grep -q NEEDED; }
no_paths() { ! grep -aoE "$root|${CARGO_HOME:-$HOME/.cargo}|/registry/src|${HOME%/}/[a-z.]+" "$1"; }

# A copy of the source, elsewhere, with a target directory of its own.
rebuilt_same() {
  local copy=$scratch/elsewhere/lss commit
  commit=$(git rev-parse HEAD | cut -c1-12)
  mkdir -p "$copy/target"
  git ls-files -z --cached --others --exclude-standard | xargs -0 cp --parents -t "$copy" || return 1
  mkdir -p "$copy/target/packaging"
  cp -a "$work/zig" "$copy/target/packaging/zig" # as packaging/tools would fetch it
  (cd "$copy" && LSS_COMMIT=$commit nice -n 10 packaging/build armv7) >"$scratch/rebuilt" || return 1
  local same
  same=$(sha256sum <"$copy/target/dist/armv7-unknown-linux-musleabihf/lss")
  rm -rf "$copy"
  [ "$same" = "$1" ] || { echo "first $1, then $same"; return 1; }
}
