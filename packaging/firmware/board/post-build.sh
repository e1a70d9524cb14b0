#!/bin/sh
# Buildroot calls this with the target's root: the data partition gets its place.
set -e
mkdir -p "$1/data"
grep -q '[[:space:]]/data[[:space:]]' "$1/etc/fstab" ||
	printf 'LABEL=data\t/data\text4\tnoatime,nosuid,nodev,noexec\t0\t2\n' >>"$1/etc/fstab"
