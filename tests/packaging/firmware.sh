# The firmware overlay on a read-only root with BusyBox init, booted for ARMv7 under qemu-user in
# namespaces of its own: nothing of it is seen outside, its network is a loopback.
# shellcheck shell=bash

# Runs in the new namespaces, as their root; the foreign programs' interpreter is known only there.
firmware_boot='
set -e
read -r _ <"$1/mapped" # until the user ids are mapped
ip link set lo up
mount -t binfmt_misc none /proc/sys/fs/binfmt_misc
grep -h "^:$2:" /usr/lib/binfmt.d/*.conf >/proc/sys/fs/binfmt_misc/register
root=$1/root
mount --bind "$root" "$root"
mount --bind "$1/data" "$root/data"
for place in dev run var/log; do mount -t tmpfs -o mode=755 none "$root/$place"; done
mount -t tmpfs -o mode=1777 none "$root/tmp"
for device in null zero urandom; do touch "$root/dev/$device" && mount --bind "/dev/$device" "$root/dev/$device"; done
mount -t proc none "$root/proc"
mount -o remount,bind,ro "$root"
exec chroot "$root" /sbin/init
'

firmware_start() { # directory interpreter
  mkfifo "$1/mapped"
  unshare --user --mount --pid --fork --net --ipc --uts --kill-child \
    bash -c "$firmware_boot" boot "$1" "$2" </dev/null >>"$1/console" 2>&1 &
  unshare_pid=$!
  pids+=("$unshare_pid")
  cleanup+=(firmware_kill)
  within 10 firmware_map "$1" || return 1
  within 30 test -s "$1/data/booted"
}
firmware_map() {
  init_pid=$(cat "/proc/$unshare_pid/task/$unshare_pid/children")
  init_pid=${init_pid%% *}
  [ -n "$init_pid" ] && [ "$(readlink "/proc/$init_pid/ns/user")" != "$(readlink /proc/self/ns/user)" ] || return 1
  echo '0 0 65536' >"/proc/$init_pid/uid_map" && echo '0 0 65536' >"/proc/$init_pid/gid_map" &&
    echo >"$1/mapped"
}
# unshare itself heeds no signal; with its init everything in there ends.
firmware_kill() {
  [ -z "${init_pid:-}" ] || gone "$unshare_pid" || kill -KILL "$init_pid"
}
# firm COMMAND...: in there.
firm() {
  nsenter --target "$init_pid" --user --mount --pid --net --ipc --uts --setuid 0 --setgid 0 \
    chroot "$place/root" /bin/env - PATH=/sbin:/usr/sbin:/bin:/usr/bin "$@"
}
# It must be there to refuse.
firm_not() { firm true && ! firm "$@"; }
firm_api() {
  nsenter --target "$init_pid" --net curl -fsS --max-time 5 -H "Authorization: Bearer $token" \
    -H 'Content-Type: application/json' "http://127.0.0.1:10060$1" "${@:2}"
}
firm_logged() { grep -qE -- "$1" "$place/data/messages"; }
firm_streams() { firm_api /api/stream/task/f1 | grep -q '"status":"STREAMING"'; }
firm_start_stream() {
  firm_api /api/stream/start -d '{"taskId":"f1","cameraId":"c1","inputType":"RTMP","sourceUrl":"rtmp://127.0.0.1:1/ok","whipUrl":"http://127.0.0.1:1/whip"}'
}
lss_pid() { firm cat /run/lss/lss.pid; }
another_lss() { [ -n "$(lss_pid)" ] && [ "$(lss_pid)" != "$1" ]; }

# A root as Buildroot would make it, of BusyBox and the overlay alone.
firmware_root() { # place
  local uri
  uri=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT)' 'Created-By: Packages' |
    awk '$2 == "bookworm" && $3 == "main" { print $1; exit }')
  [ -n "$uri" ] || uri=$(sed -n 's/^URIs: //p' /etc/apt/sources.list.d/*.sources 2>/dev/null | head -n 1)
  mkdir -p "$1/root" "$1/data"
  if [ ! -x "$work/busybox-armhf" ]; then
    mmdebstrap --quiet --variant=extract --architectures=armhf --include=busybox-static bookworm \
      "$1/fetched" "deb $uri bookworm main" >>"$log" 2>&1 || return 1
    cp "$1/fetched/bin/busybox" "$work/busybox-armhf"
  fi
  local root=$1/root applet
  mkdir -p "$root"/{bin,sbin,usr/bin,usr/sbin,etc/init.d,dev,proc,tmp,run,var/log,data,usr/local/ffmpeg-whip/bin}
  cp "$work/busybox-armhf" "$root/bin/busybox"
  for applet in $(qemu-arm-static "$root/bin/busybox" --list); do
    [ "$applet" = busybox ] || ln -s /bin/busybox "$root/bin/$applet"
  done
  ln -s /bin/busybox "$root/sbin/init"
  ln -s /bin/env "$root/usr/bin/env"
  printf '%s\n' root:x:0:0:root:/:/bin/sh 'lss:x:811:811:Local Sender Service:/:/bin/false' >"$root/etc/passwd"
  printf '%s\n' root:x:0: lss:x:811: >"$root/etc/group"
  printf '127.0.0.1 localhost\n' >"$root/etc/hosts"
  # As Buildroot has them.
  printf '%s\n' '::sysinit:/etc/init.d/rcS' '::shutdown:/etc/init.d/rcK' >"$root/etc/inittab"
  printf '#!/bin/sh\nsyslogd -O /data/messages\nfor i in /etc/init.d/S??*; do $i start; done\necho yes >/data/booted\n' >"$root/etc/init.d/rcS"
  printf '#!/bin/sh\nfor i in $(ls -r /etc/init.d/S??*); do $i stop; done\necho yes >/data/halted\n' >"$root/etc/init.d/rcK"
  chmod 755 "$root/etc/init.d/"rc?
  cp tests/support/fake_ffmpeg "$root/usr/local/ffmpeg-whip/bin/ffmpeg"
  tar -C "$root" -xzf "$dist/lss-overlay_${version}_armv7.tar.gz"
  chmod 755 "$scratch" "$1" "$1/root" "$1/data"
}

test_firmware() {
  local place pid triple
  packaging/build armv7 >>"$log" 2>&1
  check "overlay builds" packaging/firmware/overlay armv7 || return
  check "overlay: the same bytes again" overlay_same
  for script in packaging/firmware/rootfs/etc/init.d/S80lss packaging/firmware/rootfs/usr/libexec/lss/keep packaging/firmware/board/post-build.sh; do
    check "${script##*/}: a shell's syntax" sh -n "$script"
  done
  skip "Buildroot's part is untested: Buildroot can't be fetched on a closed network"
  if ! as_root || ! need qemu-arm-static qemu-user-static || ! need mmdebstrap mmdebstrap || ! need ip iproute2; then
    lacking "boot: needs root, qemu-user-static, iproute2 and a Debian mirror"
    return
  fi
  place=$scratch/firmware
  if ! firmware_root "$place"; then lacking "boot: there is no BusyBox for ARM"; return; fi
  if ! unshare --user --mount --map-root-user mount -t binfmt_misc none /proc/sys/fs/binfmt_misc 2>/dev/null; then
    lacking "boot: this kernel has no binfmt_misc for user namespaces (Linux 6.7)"
    return
  fi

  # First boot: an empty data partition.
  # Not in check's subshell: it sets what the rest needs.
  firmware_start "$place" qemu-arm
  check "first boot: BusyBox init comes up on a read-only root" firm test -e /data/booted ||
    { tail -n 5 "$place/console"; return; }
  check "first boot: nothing can be written to the root" firm_not touch /usr/share/lss/x
  check "first boot: the configuration is made, 0640 root:811" firm_owned lss.yaml 811
  check "first boot: a random token is made, 0640 root:0" firm_owned lss.env 0
  token=$(sed -n "s/^LSS_API_TOKEN='\([0-9a-f]\{32\}\)'$/\1/p" "$place/data/lss/lss.env")
  check "first boot: it is 32 digits" test "${#token}" = 32
  check "first boot: lss says what its configuration lacks" within 20 firm_logged 'LSS_MACHINE_ID'
  check "first boot: and is not started over and over" within 20 firm_logged 'not started again'
  check "first boot: nothing runs" within 10 firm_not /etc/init.d/S80lss status

  # What an installer does.
  sed -i 's/^mode: cloud$/mode: standalone/; s/scan_enabled: true/scan_enabled: false/' "$place/data/lss/lss.yaml"
  check "configured: the init script starts it" firm /etc/init.d/S80lss start
  check "configured: REST answers" within 20 firm_api /livez || { tail -n 5 "$place/data/messages"; return; }
  check "configured: and wants the token" test "$(nsenter --target "$init_pid" --net curl -s -o /dev/null -w '%{http_code}' http://127.0.0.1:10060/api/stream/node)" = 401
  pid=$(lss_pid)
  check "configured: runs as 811" test "$(firm stat -c %u "/proc/$pid")" = 811
  check "configured: the watchdog is asked for" firm_watched "$pid"
  check "configured: a stream starts" firm_start_stream
  check "configured: and streams" within 20 firm_streams
  check "configured: reload" firm /etc/init.d/S80lss reload
  firm sh -c 'cp -p /data/lss/lss.yaml /data/keep && printf "lss\n  broken: [\n" >>/data/lss/lss.yaml'
  check "configured: a broken configuration is not loaded" firm_not /etc/init.d/S80lss reload
  firm sh -c 'cp -p /data/keep /data/lss/lss.yaml'
  check "configured: it streams on" firm_streams
  firm kill -KILL "$pid"
  check "killed: it comes back" within 20 another_lss "$pid"
  check "killed: REST answers" within 20 firm_api /livez
  check "killed: no child is left" within 10 no_child
  check "killed: a stream starts" firm_start_stream
  check "killed: and streams" within 20 firm_streams
  check "log: it goes to syslog, and holds no token" in_syslog
  pid=$(lss_pid)
  check "stop: the init script ends it" firm /etc/init.d/S80lss stop
  check "stop: in order" firm_logged 'stopped$'
  check "stop: nothing runs" no_child
  check "start again" firm /etc/init.d/S80lss start
  check "start again: REST answers" within 20 firm_api /livez

  # The machine goes down, and comes up again.
  rm -f "$place/data/booted"
  firm poweroff
  check "power off: the machine ends by itself" within 60 gone "$unshare_pid"
  check "power off: lss was stopped in order" test "$(grep -c 'stopped$' "$place/data/messages")" = 2
  rm -f "$place/mapped"
  firmware_start "$place" qemu-arm
  check "second boot" firm test -e /data/booted || return
  check "second boot: lss runs by itself, with the same token" within 30 firm_api /api/stream/node
  firm poweroff
  within 60 gone "$unshare_pid"
}

overlay_same() {
  local before after
  before=$(sha256sum "$dist"/lss-overlay_*_armv7.tar.gz)
  packaging/firmware/overlay armv7 >/dev/null
  after=$(sha256sum "$dist"/lss-overlay_*_armv7.tar.gz)
  [ "$before" = "$after" ]
}
firm_watched() { firm cat "/proc/$1/environ" | tr '\0' '\n' | grep -qx WATCHDOG_USEC=30000000; }
firm_owned() { # file group
  local is
  is=$(stat -c '%a %u %g' "$place/data/lss/$1")
  [ "$is" = "640 0 $2" ] || { echo "$1: $is"; return 1; }
}
no_child() {
  local all
  all=$(firm ps) && [[ $all == *init* && $all != *ffmpeg-whip* ]]
}
in_syslog() {
  grep -q 'daemon.info lss: .*lss starts' "$place/data/messages" && ! grep -q "$token" "$place/data/messages"
}
