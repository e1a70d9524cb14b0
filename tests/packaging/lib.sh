# What the packaging tests share: the count, waiting, the cloud stand-in, a node's configuration.
# shellcheck shell=bash

. "$(dirname "${BASH_SOURCE[0]}")/../../packaging/lib.sh"
export RUST_BACKTRACE=0 DEBIAN_FRONTEND=noninteractive CARGO_TERM_COLOR=never

passed=0 failed=0 skipped=0
scratch=$(mktemp -d)
log=$work/test.log
mkdir -p "$work"
# Everything started is ended by its id, even when a test is interrupted.
pids=()
cleanup=()
finish() {
  local pid step
  for step in "${cleanup[@]}"; do $step; done
  for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null; done
  for pid in "${pids[@]}"; do wait "$pid" 2>/dev/null; done
  rm -rf "$scratch"
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

ok() { echo "ok    $*"; passed=$((passed + 1)); }
bad() { echo "FAIL  $*"; failed=$((failed + 1)); }
skip() { echo "skip  $*"; skipped=$((skipped + 1)); }
# A part that is missing on this machine: skipped, but where nothing may be missing (.ci/run).
lacking() { if [ "${LSS_E2E_REQUIRE:-}" = 1 ]; then bad "$@"; else lacking "$@"; fi; }
# check NAME COMMAND...: one line; what the command said is shown when it failed.
check() {
  local name=$1 said
  shift
  if said=$("$@" 2>&1); then ok "$name"; else
    bad "$name"
    [ -n "$said" ] && tail -n 12 <<<"$said" | cut -c1-300 | sed 's/^/      | /'
    return 1
  fi
}
# within SECONDS COMMAND...: until the command succeeds.
within() {
  local until=$((SECONDS + $1))
  shift
  until "$@" >/dev/null 2>&1; do
    [ "$SECONDS" -ge "$until" ] && return 1
    sleep 0.05
  done
}
not() { ! "$@"; }
as_root() { [ "$(id -u)" = 0 ]; }
have() { command -v "$1" >/dev/null; }
apt_updated=0
# install PACKAGE...: Debian packages; false where that can't be.
install_debian() {
  as_root && have apt-get || return 1
  [ "$apt_updated" = 1 ] || apt-get -q update >>"$log" 2>&1
  apt_updated=1
  apt-get -q install -y --no-install-recommends "$@" >>"$log" 2>&1
}
need() { # command package
  have "$1" || install_debian "$2" && have "$1"
}
free_port() {
  /usr/bin/python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}
gone() { ! kill -0 "$1" 2>/dev/null; }

# ---- the cloud --------------------------------------------------------------------------------

cloud_build() {
  [ -n "${cloud_bin:-}" ] && return
  cargo build -q --locked --example cloud_standin >>"$log" 2>&1 || return 1
  cloud_bin=${CARGO_TARGET_DIR:-target}/debug/examples/cloud_standin
}
# cloud_start: sets $cloud (its directory; $cloud/log is what came), $rcs_port, $ably_port.
cloud_start() {
  cloud_build || return 1
  cloud=$(mktemp -d "$scratch/cloud.XXXX")
  chmod 755 "$scratch" "$cloud"
  mkfifo "$cloud/in"
  "$cloud_bin" "$cloud" <"$cloud/in" >"$cloud/log" 2>"$cloud/err" &
  cloud_pid=$!
  pids+=("$cloud_pid")
  exec 7>"$cloud/in"
  within 10 grep -q ^ready "$cloud/log" || return 1
  read -r _ rcs_port ably_port < <(grep ^ready "$cloud/log")
}
# cloud_check NAME: ends it; it complains if a client did anything against the contract.
cloud_check() {
  exec 7>&-
  if wait "$cloud_pid"; then ok "$1"; else
    bad "$1"
    { grep '^against' "$cloud/log"; cat "$cloud/err"; } | cut -c1-300 | sed 's/^/      | /'
  fi
}
# came PATTERN [FROM_LINE]: whether a line matches.
came() { tail -n "+${2:-1}" "$cloud/log" | grep -qE -- "$1"; }
cloud_lines() { wc -l <"$cloud/log"; }
# order NODE COMMAND PAYLOAD
order() {
  local data
  data=$(printf '{"command":"%s","payload":%s}' "$2" "$3" | sed 's/\\/\\\\/g; s/"/\\"/g')
  printf 'lss:%s:commands {"name":"command","encoding":"json","data":"%s"}\n' "$1" "$data" >&7
}
start_order() { # node task request
  order "$1" START_STREAM "{\"taskId\":\"$2\",\"cameraId\":\"cam-$2\",\"inputType\":\"RTMP\",\"sourceUrl\":\"rtmp://127.0.0.1:1/ok\",\"whipUrl\":\"http://127.0.0.1:1/whip\",\"requestId\":\"$3\"}"
}

# node_config FILE MACHINE_ID REST_PORT FFMPEG: a node of the cloud stand-in.
node_config() {
  cat >"$1" <<EOF
mode: cloud
server: { listen: '127.0.0.1', port: $3 }
rcs: { base_url: 'https://localhost:$rcs_port', ca_file: $cloud/rcs.pem }
ably: { api_key: 'app.key:secret', endpoint: localhost, port: $ably_port, ca_file: $cloud/ably.pem, connectivity_check_url: '', heartbeat_interval: 1s }
lss:
  node: { machine_id: '$2', ip: 127.0.0.1 }
  ffmpeg: { path: '$4', start_confirm: 500ms, stop_timeout: 5s }
camera: { scan_enabled: false }
EOF
}

# ---- roots ------------------------------------------------------------------------------------

# A small Debian with systemd, made once: $rootfs is a tarball.
rootfs=$work/rootfs-bookworm.tar
make_rootfs() {
  [ -f "$rootfs" ] && return
  need mmdebstrap mmdebstrap || return 1
  # By the name's end it tells what to make.
  local part=${rootfs%.tar}.part.tar
  nice mmdebstrap --quiet --variant=minbase --include=systemd-sysv,ca-certificates bookworm "$part" \
    >>"$log" 2>&1 && mv "$part" "$rootfs"
}
# new_root NAME: unpacks it; sets $sysroot_dir. What nobody needs here stays out.
new_root() {
  sysroot_dir=$scratch/$1
  mkdir -p "$sysroot_dir"
  tar -C "$sysroot_dir" --exclude='./usr/share/locale/*' --exclude='./var/cache/apt/*' -xpf "$rootfs" &&
    printf '127.0.0.1 localhost\n::1 localhost\n' >"$sysroot_dir/etc/hosts"
}
