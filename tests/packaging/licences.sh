# What is linked, and under which licence.
# shellcheck shell=bash

cargo_deny=0.20.2

test_licences() {
  check "third-party list: every library has a licence" third_party
  if ! cargo deny --version 2>/dev/null | grep -q "$cargo_deny" &&
    ! nice -n 10 cargo install --locked --quiet --version "$cargo_deny" --root "$work/cargo-deny" cargo-deny >>"$log" 2>&1; then
    lacking "cargo-deny $cargo_deny can't be installed"
    return
  fi
  PATH=$work/cargo-deny/bin:$PATH
  check "cargo deny: licences, bans, sources" cargo deny --locked check licenses bans sources
  local said
  if said=$(timeout 120 cargo deny --locked check advisories 2>&1); then ok "cargo deny: advisories"
  elif grep -qiE 'failed to (fetch|clone)|resolve|network|unable to' <<<"$said"; then
    skip "cargo deny: the advisory database can't be reached"
  else
    bad "cargo deny: advisories"
    tail -n 20 <<<"$said"
  fi
}
third_party() {
  packaging/notices x86_64-unknown-linux-musl aarch64-unknown-linux-musl armv7-unknown-linux-musleabihf >"$scratch/third-party" &&
    [ "$(grep -cE '^[a-z0-9_-]+ [0-9.]+: ' "$scratch/third-party")" -gt 40 ]
}
