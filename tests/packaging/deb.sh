# The Debian packages: what is in them, what lintian says, and their life in a chroot.
# shellcheck shell=bash

# in_root COMMAND...: without the outside's /proc, devices and environment; no network.
in_root() {
  unshare --mount --pid --fork --net --mount-proc="$sysroot_dir/proc" \
    chroot "$sysroot_dir" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 \
    DEBIAN_FRONTEND=noninteractive "$@"
}
# What a file is: mode, owner, group.
owned() { # path as-it-should-be
  local is
  is=$(in_root stat -c '%a %U %G' "$1")
  [ "$is" = "$2" ] || { echo "$1: $is"; return 1; }
}
same_twice() {
  local before
  before=$(sha256sum target/dist/*.deb)
  packaging/deb all >/dev/null && [ "$before" = "$(sha256sum target/dist/*.deb)" ]
}
env_of() { in_root cat /etc/lss/lss.env; }
no_such() { ! in_root test -e "$1"; }

test_deb() {
  local deb arch said
  check "unit: verifies offline, exposure 1.5 or better" unit_score
  if need mandoc mandoc; then
    check "man page: mandoc finds nothing" mandoc_clean
  else lacking "man page: there is no mandoc"; fi
  if need man man-db; then check "man page: man has no warnings" man_clean; else lacking "man page: there is no man"; fi
  packaging/build all >>"$log" 2>&1
  check "packages build" packaging/deb all || return
  check "packages: the same bytes again" same_twice
  if need lintian lintian; then
    for deb in "$dist"/lss_"$version"_{amd64,arm64,armhf}.deb; do
      check "lintian: ${deb##*/}" lintian_clean "$deb"
    done
  else lacking "there is no lintian"; fi

  if ! as_root || ! make_rootfs; then
    lacking "chroot: needs root and a Debian mirror"
    return
  fi
  new_root chroot || { bad "chroot: no root to install in"; return; }
  arch=$(dpkg --print-architecture 2>/dev/null)
  deb=$dist/lss_${version}_$arch.deb
  [ -f "$deb" ] || { lacking "chroot: no package for $arch"; return; }
  LSS_DEB_VERSION=$version+next packaging/deb "$arch" >>"$log" 2>&1
  cp "$deb" "$dist/lss_$version+next_$arch.deb" "$sysroot_dir/root/"
  rm -f "$dist/lss_$version+next_$arch.deb"

  check "install" in_root dpkg -i "/root/${deb##*/}"
  said=$(in_root grep -c "^LSS_API_TOKEN='[0-9a-f]\{32\}'$" /etc/lss/lss.env)
  check "install: a random token is made" test "$said" = 1
  check "install: the binary runs" in_root lss version
  check "man page: names every command and option of --help" manual_complete
  check "completion: bash offers what the package's program takes" completes
  check "install: lss.yaml is 0640 root:lss" owned /etc/lss/lss.yaml '640 root lss'
  check "install: lss.env is 0640 root:root" owned /etc/lss/lss.env '640 root root'
  check "install: the user is there, with no shell" in_root grep -q '^lss:.*:/usr/sbin/nologin$' /etc/passwd
  check "install: the service is enabled" in_root test -L /etc/systemd/system/multi-user.target.wants/lss.service
  check "install: systemd accepts the unit" verify_unit
  check "install: the configuration is sound but for the cloud's three values" three_missing
  check "install: the configuration sets passthrough: auto" in_root grep -q '^    passthrough: auto$' /etc/lss/lss.yaml

  local token
  token=$(env_of)
  in_root sh -c 'echo "# mine" >>/etc/lss/lss.yaml'
  check "upgrade" in_root dpkg --force-confdef --force-confold -i "/root/lss_$version+next_$arch.deb"
  check "upgrade: my lss.yaml is kept" in_root grep -q '^# mine$' /etc/lss/lss.yaml
  check "upgrade: the token is kept" test "$token" = "$(env_of)"
  check "upgrade: mode and owner are kept" owned /etc/lss/lss.yaml '640 root lss'
  check "remove" in_root dpkg -r lss
  check "remove: the program is gone" no_such /usr/bin/lss
  check "remove: configuration and secrets are kept" in_root test -f /etc/lss/lss.yaml -a -f /etc/lss/lss.env
  check "install again" in_root dpkg -i "/root/${deb##*/}"
  check "install again: the token is kept" test "$token" = "$(env_of)"
  check "purge" in_root dpkg -P lss
  check "purge: /etc/lss is gone" no_such /etc/lss
  check "purge: nothing of the package is left" nothing_left
  check "install after purge: a new token" new_token "$deb" "$token"
}

unit_score() {
  local said
  said=$(systemd-analyze security --no-pager --offline=true --threshold=15 packaging/systemd/lss.service 2>&1) ||
    { tail -n 3 <<<"$said"; return 1; }
  grep Overall <<<"$said" >>"$log"
}
mandoc_clean() {
  # A mandoc without a database knows no other manual.
  local said
  said=$(mandoc -T lint packaging/lss.8 | grep -v 'referenced manual not found')
  [ -z "$said" ] || { echo "$said"; return 1; }
}
man_clean() {
  local said
  said=$(LC_ALL=C.UTF-8 MANWIDTH=80 man --warnings -E UTF-8 -l packaging/lss.8 2>&1 >/dev/null)
  [ -z "$said" ] || { echo "$said"; return 1; }
}
manual_complete() {
  local help word missing=
  help=$(in_root lss --help) || return 1
  for word in $(sed -n 's/^  lss \[\{0,1\}\([a-z-]*\).*/\1/p' <<<"$help") $(grep -oE -- '--[a-z]+' <<<"$help" | sort -u) \
    $(grep -oE '\b[A-Z]+_[A-Z_]+\b' <<<"$help" | sort -u); do
    grep -qE -- "(Cm|Fl Fl|Ev) ${word#--}( |$)" packaging/lss.8 || missing="$missing $word"
  done
  [ -z "$missing" ] || { echo "not in lss.8:$missing"; return 1; }
}
# Every command that --help names, and an option of one of them.
completes() {
  local commands
  commands=$(in_root lss --help | sed -n 's/^  lss \[\{0,1\}\([a-z-]*\).*/\1/p' | sort -u)
  in_root bash -c '. /usr/share/bash-completion/completions/lss
    offered() { COMP_WORDS=(lss "$@") COMP_CWORD=$#; _lss; printf "%s\n" "${COMPREPLY[@]}"; }
    [ "$(offered "" | sort)" = "$1" ] && [ "$(offered scan --s)" = --subnet ]' bash "$commands" &&
    in_root test -f /usr/share/zsh/vendor-completions/_lss
}
lintian_clean() {
  lintian --allow-root --pedantic --display-info --fail-on error,warning,info "$1"
}
verify_unit() {
  local said
  # Manuals are not installed here.
  said=$(in_root systemd-analyze verify --man=no lss.service 2>&1 | grep -i lss)
  [ -z "$said" ] || { echo "$said"; return 1; }
}
three_missing() {
  local said
  said=$(in_root lss check-config 2>&1)
  [ $? = 2 ] && grep -q LSS_MACHINE_ID <<<"$said" && grep -q '1 fault' <<<"$said" &&
    in_root env LSS_MACHINE_ID=m RCS_BASE_URL=https://rcs.example ABLY_API_KEY=a.b:c lss check-config >/dev/null ||
    { echo "$said"; return 1; }
}
nothing_left() {
  local left
  left=$(in_root sh -c 'find / -xdev \( -path /proc -o -path /root \) -prune -o -name "*lss*" -print' |
    grep -v -e /var/lib/dpkg/info -e '\.pm$')
  [ -z "$left" ] || { echo "$left"; return 1; }
}
new_token() {
  in_root dpkg -i "/root/${1##*/}" && [ "$2" != "$(env_of)" ]
}
