# The package on a booted Debian (systemd-nspawn, this machine's loopback): the service's life, its
# confinement with a real FFmpeg at work, upgrade and removal while it streams.
# shellcheck shell=bash

node=lss-boot

# inside COMMAND...: in the booted system.
inside() {
  nsenter --target "$leader" --mount --uts --ipc --pid --cgroup \
    /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 DEBIAN_FRONTEND=noninteractive "$@"
}
# It must be there to refuse.
inside_not() { inside true && ! inside "$@"; }
# sh_in SCRIPT: a shell's there; for redirections and globs.
sh_in() { inside sh -c "$1"; }
unit() { inside systemctl show --value --property="$1" lss.service; }
unit_is() { [ "$(unit "$1")" = "$2" ] || { echo "$1=$(unit "$1")"; return 1; }; }
journal() { inside journalctl --no-pager --unit lss "$@"; }
api() { curl -fsS -H "Authorization: Bearer $token" "http://127.0.0.1:$rest_port$1"; }

boot() {
  systemd-nspawn --quiet --directory="$sysroot_dir" --register=no --keep-unit --boot --console=pipe \
    --machine=lss-test-$$ --bind-ro="$ffmpeg:/usr/local/ffmpeg-whip/bin/ffmpeg" \
    </dev/null >"$scratch/boot.log" 2>&1 &
  nspawn=$!
  pids+=("$nspawn")
  within 30 find_leader && within 60 sh_in 'systemctl is-system-running --wait | grep -qE "running|degraded"'
}
find_leader() {
  leader=$(cat "/proc/$nspawn/task/$nspawn/children" 2>/dev/null)
  leader=${leader%% *}
  [ -n "$leader" ] && [ "$(cat "/proc/$leader/comm")" = systemd ]
}

# The stream of the test: a real camera's, really decoded.
lab_start() {
  # shellcheck disable=SC1091
  ffmpeg=$(sed -n 's/^ffmpeg=//p' target/e2e/env) python=$(sed -n 's/^python=//p' target/e2e/env)
  rtsp_python=$(sed -n 's/^rtsp_python=//p' target/e2e/env) clips=$(sed -n 's/^clips=//p' target/e2e/env)
  [ -n "$ffmpeg" ] && [ -n "$python" ] && [ -n "$rtsp_python" ] && [ -n "$clips" ] || return 1
  rtsp_port=$(free_port)
  "$rtsp_python" tests/e2e/lab/rtsp_src.py --port "$rtsp_port" "cam=$clips/long_h264_aac.mp4" >"$scratch/rtsp.log" 2>&1 &
  pids+=("$!")
  "$python" tests/e2e/lab/whip_recv.py >"$scratch/whip.log" 2>&1 &
  pids+=("$!")
  within 20 grep -q ^listening "$scratch/whip.log" || return 1
  whip_port=$(sed -n 's/^listening //p' "$scratch/whip.log")
}
# decoded KEY: how many pictures the receiver has had of it.
decoded() {
  curl -fsS "http://127.0.0.1:$whip_port/stats?key=$1" | "$python" -c '
import json, sys
def most(value):
    if isinstance(value, dict):
        return max([value.get("frames") or 0 if isinstance(value.get("frames"), int) else 0]
                   + [most(v) for v in value.values()])
    return max([most(v) for v in value], default=0) if isinstance(value, list) else 0
print(most(json.load(sys.stdin)))'
}
decodes() { [ "$(decoded "$1")" -ge "$2" ]; }
# stream TASK: orders it, and waits for pictures. Transcoded: x264 with its threads.
stream() {
  local from
  from=$(cloud_lines)
  order "$node" START_STREAM "{\"taskId\":\"$1\",\"cameraId\":\"cam\",\"sourceUrl\":\"rtsp://127.0.0.1:$rtsp_port/cam\",\"whipUrl\":\"http://127.0.0.1:$whip_port/whip/ok/$1\",\"requestId\":\"start-$1\",\"videoConfig\":{\"codec\":\"libx264\",\"fps\":25}}"
  within 40 came "\"requestId\":\"start-$1\"" "$from"
  came "\"requestId\":\"start-$1\".*\"success\":true" "$from" ||
    { came_line "\"requestId\":\"start-$1\""; journal --lines 20; return 1; }
  within 20 decodes "$1" 25 || { echo "$(decoded "$1") pictures"; return 1; }
}
came_line() { grep -E -- "$1" "$cloud/log" | cut -c1-600; }
# ms_of PATTERN FROM_LINE: when the first such line came.
ms_of() { tail -n "+$2" "$cloud/log" | grep -E -m 1 -- "$1" | cut -d' ' -f1; }
ffmpegs() { sh_in 'n=0; for c in /proc/[0-9]*/comm; do read -r name <"$c" 2>/dev/null; [ "$name" = ffmpeg ] && n=$((n + 1)); done; echo $n'; }
no_ffmpeg() { [ "$(ffmpegs)" = 0 ]; }
confined() { # pid: no capability, no new ones, a filter
  local status
  status=$(inside cat "/proc/$1/status")
  grep -q 'CapEff:.0000000000000000' <<<"$status" && grep -q 'CapBnd:.0000000000000000' <<<"$status" &&
    grep -q 'NoNewPrivs:.1' <<<"$status" && grep -q 'Seccomp:.2' <<<"$status" ||
    { grep -E 'Cap|NoNew|Seccomp' <<<"$status"; return 1; }
}
ffmpeg_pid() { sh_in 'for c in /proc/[0-9]*/comm; do read -r name <"$c" 2>/dev/null; [ "$name" = ffmpeg ] && echo "${c%/comm}" | cut -c7-; done' | head -n 1; }

test_boot() {
  local arch deb from main stopped back said
  arch=$(dpkg --print-architecture 2>/dev/null)
  deb=$dist/lss_${version}_$arch.deb
  if ! as_root || ! need systemd-nspawn systemd-container || ! make_rootfs; then
    lacking "boot: needs root, systemd-nspawn and a Debian mirror"
    return
  fi
  # Not `all`: the foreign packages are no use here.
  packaging/build "$arch" >>"$log" 2>&1 && packaging/deb "$arch" >>"$log" 2>&1 || { bad "boot: no package"; return; }
  LSS_DEB_VERSION=$version+next packaging/deb "$arch" >>"$log" 2>&1
  tests/e2e/setup >>"$log" 2>&1
  if ! lab_start; then lacking "boot: parts of tests/e2e/setup are missing"; return; fi
  cloud_start || { bad "boot: the cloud stand-in does not start"; return; }
  rest_port=$(free_port)
  new_root boot || { bad "boot: no root to boot"; return; }
  mv "$dist/lss_$version+next_$arch.deb" "$sysroot_dir/root/next.deb"
  cp "$deb" "$sysroot_dir/root/lss.deb"
  cp "$cloud"/*.pem "$sysroot_dir/etc/ssl/"
  node_config "$scratch/boot.yaml" boot "$rest_port" /usr/local/ffmpeg-whip/bin/ffmpeg
  sed -i "s|$cloud|/etc/ssl|; s|listen: '127.0.0.1', ||" "$scratch/boot.yaml"
  boot || { bad "boot: systemd does not come up"; tail -n 20 "$scratch/boot.log"; return; }

  said=$(inside dpkg -i /root/lss.deb 2>&1)
  check "boot: installs on a running system" inside dpkg-query -W lss
  check "boot: says where the token is" grep -q 'sudo grep LSS_API_TOKEN /etc/lss/lss.env' <<<"$said"
  check "boot: says that it is not started, and why" grep -q 'not started yet, its configuration is not complete' <<<"$said"
  check "boot: no failed unit is left behind" unit_is ActiveState inactive
  token=$(inside sed -n "s/^LSS_API_TOKEN='\(.*\)'/\1/p" /etc/lss/lss.env)
  check "boot: the token itself is not in what was printed" not_in "$token" "$said"

  inside sh -c 'cat >/etc/lss/lss.yaml' <"$scratch/boot.yaml"
  check "service: starts, and says when it is ready" inside systemctl start lss
  check "service: registers" within 20 came ' Register ' || { journal --lines 20; return; }
  check "service: the command channel is up" within 20 api /readyz
  check "service: REST wants the token" test "$(curl -s -o /dev/null -w '%{http_code}' "http://127.0.0.1:$rest_port/api/stream/node")" = 401
  main=$(unit MainPID)
  check "service: runs as lss" test "$(inside stat -c %U "/proc/$main")" = lss
  check "service: confined" confined "$main"
  check "service: the journal knows the levels" journal_levels
  watchdog_check

  check "stream: FFmpeg encodes with libx264 under the unit, pictures arrive" stream t1
  check "stream: FFmpeg is confined too" confined "$(ffmpeg_pid)"
  check "stream: FFmpeg can't read the secrets" inside_not setpriv --reuid=lss --regid=lss --clear-groups cat /etc/lss/lss.env
  check "stream: nobody complains of a call that was refused" not_in 'Operation not permitted' "$(journal)"

  inside sh -c 'printf "lss\n  broken: [\n" >>/etc/lss/lss.yaml'
  check "reload: a broken configuration is refused" inside_not systemctl reload lss
  check "reload: and nothing has happened to the service" unit_is MainPID "$main"
  inside sh -c 'cat >/etc/lss/lss.yaml' <"$scratch/boot.yaml"
  check "reload: a good one is taken" inside systemctl reload lss
  check "reload: lss says so" within 5 reload_logged
  check "reload: the same process" unit_is MainPID "$main"
  from=$(decoded t1)
  check "reload: the stream goes on" within 20 decodes t1 $((from + 25))

  from=$(cloud_lines)
  check "upgrade: while it streams" inside dpkg --force-confold -i /root/next.deb
  check "upgrade: the stream was stopped in order, RCS told" within 10 came ' Callback .*"NODE_SHUTDOWN"' "$from"
  check "upgrade: OFFLINE, then registered again" within 20 came ' Register ' "$from"
  stopped=$(ms_of '"OFFLINE"' "$from")
  back=$(ms_of ' Register ' "$from")
  check "upgrade: registered $((back - stopped)) ms after it went offline (at most 3000)" in_time "$stopped" "$back"
  check "upgrade: another process" not unit_is MainPID "$main"
  check "upgrade: streams again" stream t2

  main=$(unit MainPID)
  from=$(cloud_lines)
  sh_in "kill -KILL $main"
  check "killed: it comes back" within 20 came ' Register ' "$from"
  check "killed: no FFmpeg is left of it" within 10 no_ffmpeg
  check "killed: streams again" stream t3

  from=$(cloud_lines)
  inside sh -c 'printf "lss\n  broken: [\n" >>/etc/lss/lss.yaml'
  inside systemctl restart lss >/dev/null 2>&1
  check "bad configuration: the unit has failed" within 10 unit_is ActiveState failed
  check "bad configuration: by exit code 2" unit_is ExecMainStatus 2
  sleep 3 # three times RestartSec: a loop would show
  check "bad configuration: it is not tried again" unit_is NRestarts 0
  inside sh -c 'cat >/etc/lss/lss.yaml' <"$scratch/boot.yaml"
  from=$(cloud_lines)
  inside systemctl start lss
  check "repaired: it comes back" within 20 came ' Register ' "$from"
  check "repaired: streams" stream t4

  from=$(cloud_lines)
  check "drop-in: the hardware encoder's loads" drop_in
  check "drop-in: registers with it" within 20 came ' Register ' "$from"
  check "drop-in: streams with it" stream t5

  from=$(cloud_lines)
  check "remove: while it streams" inside dpkg -r lss
  check "remove: RCS was told of the stream" came ' Callback .*"NODE_SHUTDOWN"' "$from"
  check "remove: and of the node" came ' Heartbeat .*"OFFLINE"' "$from"
  check "remove: nothing runs" inside_not systemctl is-active --quiet lss
  check "purge" inside dpkg -P lss
  check "purge: /etc/lss is gone" inside_not test -e /etc/lss
  inside systemctl poweroff >/dev/null 2>&1
  within 20 gone "$nspawn" || kill "$nspawn"
  cloud_check "the cloud has no complaint"
}

in_time() { [ -n "$1" ] && [ -n "$2" ] && [ "$2" -gt "$1" ] && [ $(($2 - $1)) -le 3000 ]; }
not_in() { ! grep -q -- "$1" <<<"$2"; }
journal_levels() {
  # 6 = info; the line has its text without the mark.
  local lines
  lines=$(journal --output json | grep 'lss starts')
  [[ $lines == *'"PRIORITY":"6"'* && $lines != *'<6>'* ]] || { echo "$lines"; return 1; }
}
reload_logged() { [[ $(journal) == *[Cc]onfiguration* ]]; }
watchdog_check() {
  local usec
  usec=$(unit WatchdogUSec)
  if [ "$usec" = 0 ]; then skip "service: the unit has no watchdog"; return; fi
  check "service: the watchdog is fed" within 60 fed
}
fed() { [ "$(unit WatchdogTimestampMonotonic)" != "$(unit ActiveEnterTimestampMonotonic)" ]; }
drop_in() {
  # A small root has no group of its own for encoders.
  sh_in 'grep -q ^render: /etc/group || groupadd --system render; mkdir -p /etc/systemd/system/lss.service.d &&
    cp /usr/share/doc/lss/examples/hardware-encoder.conf /etc/systemd/system/lss.service.d/' &&
    inside systemctl daemon-reload && inside systemctl restart lss && [ "$(unit PrivateDevices)" = no ]
}
