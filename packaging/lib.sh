# Names that the scripts of packaging/ share. To be sourced, from anywhere; goes to the repository.
# shellcheck shell=bash

export LC_ALL=C TZ=UTC
umask 022
cd "$(dirname "${BASH_SOURCE[0]}")/.." || exit 1
root=$PWD
command -v cargo >/dev/null || PATH=$PATH:$HOME/.cargo/bin

# The compiler of every released binary: another one makes other bytes.
rust_version=1.95.0
work=$root/target/packaging   # tools, staging, chroots
dist=$root/target/dist        # what is made for others

die() { echo "${0##*/}: $*" >&2; exit 1; }

# The machine, by any of its names: the kernel's, Rust's, Debian's.
triple_of() {
  case $1 in
    x86_64 | amd64 | x86_64-unknown-linux-musl) echo x86_64-unknown-linux-musl ;;
    aarch64 | arm64 | aarch64-unknown-linux-musl) echo aarch64-unknown-linux-musl ;;
    armv7 | armhf | armv7-unknown-linux-musleabihf) echo armv7-unknown-linux-musleabihf ;;
    *) return 1 ;;
  esac
}
debian_of() {
  case $(triple_of "$1") in
    x86_64-*) echo amd64 ;;
    aarch64-*) echo arm64 ;;
    armv7-*) echo armhf ;;
    *) return 1 ;;
  esac
}

version=$(sed -n 's/^version = "\(.*\)"$/\1/p' Cargo.toml | head -n 1)

# When this version was made: the time of every file in what is handed out.
release_time() {
  date -d "$(sed -n 's/^ -- .*>  //p' packaging/debian/changelog | head -n 1)" +%s
}

# Gateways have little processor time and mostly cameras that need no re-encoding: the packaged
# configuration differs from the defaults in this one key.
packaged_yaml() {
  awk '/^    passthrough: never$/ {
      print "    # This package sets auto: a camera that is set to H.264 Baseline then costs a gateway next to"
      print "    # nothing, where encoding its picture takes the better part of a core."
      print "    passthrough: auto"; n++; next }
    { print }
    END { exit n != 1 }' etc/lss.yaml || die "etc/lss.yaml has no line 'passthrough: never'"
}
