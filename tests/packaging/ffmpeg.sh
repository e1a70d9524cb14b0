# The FFmpeg of our own: builds from pinned archives, has what lss asks for, and streams. Slow when it
# has to be built (a quarter of an hour a target on two cores): what is there already is taken.
# shellcheck shell=bash

ffmpeg_targets=${LSS_FFMPEG_TARGETS:-x86_64}

test_ffmpeg() {
  local target triple bin run
  check "sources are pinned: hash, size and place each" sources_pinned
  if ! { have make && have perl && have nasm && have pkg-config; } &&
    ! install_debian make perl nasm xz-utils curl pkg-config; then
    lacking "build: make, perl, nasm or pkg-config is missing"
    return
  fi
  tests/e2e/setup >>"$log" 2>&1
  lab_start || { lacking "parts of tests/e2e/setup are missing"; return; }
  fetched
  for target in $ffmpeg_targets; do
    triple=$(triple_of "$target") bin=$dist/$triple/ffmpeg
    if [ ! -x "$bin" ] && ! nice -n 10 packaging/ffmpeg/build "$target" >>"$log" 2>&1; then
      if grep -q 'no mirror has' "$log"; then skip "$target: no mirror has the archives"; else bad "$target: builds"; fi
      continue
    fi
    ok "$target: builds ($(stat -c %s "$bin") bytes)"
    check "$target: is static" no_interpreter "$bin"
    run=("$bin")
    case $target in
      aarch64) run=(qemu-aarch64-static "$bin") ;;
      armv7) run=(qemu-arm-static "$bin") ;;
    esac
    [ "$target" = x86_64 ] || have "${run[0]}" || { lacking "$target: there is no ${run[0]}"; continue; }
    check "$target: version 9.0.2" says 'version 9.0.2' -version
    check "$target: whip with a time-out of its own" says '-timeout' -h muxer=whip
    check "$target: x264 and Opus" says 'libx264.*libopus' -encoders
    check "$target: a picture for snapshots" says 'mjpeg' -encoders
    check "$target: makes a second of H.264 and Opus" encodes
    check "$target: a camera's stream to WHIP, pictures arrive" pushes "$target"
  done
}
# The ready made ones: they come, and have what lss asks for.
fetched() {
  local bin=$scratch/fetched target run
  for target in x86_64 aarch64; do
    run=("$bin")
    if [ "$target" = aarch64 ]; then
      run=(qemu-aarch64-static -L /usr/aarch64-linux-gnu "$bin")
      if ! need qemu-aarch64-static qemu-user-static ||
        ! { [ -d /usr/aarch64-linux-gnu/lib ] || install_debian libc6-arm64-cross; }; then
        lacking "fetched $target: there is no qemu-user-static, or no C library for it"
        continue
      fi
    fi
    check "fetched $target: comes, with the pinned hash" packaging/ffmpeg/fetch "$target" "$bin" || continue
    check "fetched $target: version 9.0.2" says 'version n9.0.2' -version
    check "fetched $target: whip with a time-out of its own" says '-timeout' -h muxer=whip
    check "fetched $target: x264 and Opus" says 'libx264.*libopus' -encoders
  done
  check "fetched armv7: there is none, and that is said" test "$(packaging/ffmpeg/fetch armv7 2>&1 | grep -c 'packaging/ffmpeg/build armv7')" = 1
}
sources_pinned() { ! grep -vE '^(#|[0-9a-f]{64} [0-9]+ pool/)' packaging/ffmpeg/sources; }
says() { # pattern arguments...
  local pattern=$1 said
  shift
  said=$("${run[@]}" -hide_banner "$@" 2>&1 </dev/null | tr '\n' ' ')
  grep -q -e "$pattern" <<<"$said" || { echo "${said:0:300}"; return 1; }
}
# Raw pictures and sound through the demuxers it has: a clip of tests/e2e/setup.
encodes() {
  local clips
  clips=$(sed -n 's/^clips=//p' target/e2e/env 2>/dev/null)
  [ -n "$clips" ] || { echo "no clips: tests/e2e/setup"; return 1; }
  "${run[@]}" -hide_banner -nostdin -loglevel error -i "$clips/h264_aac.mp4" -t 1 -c:v libx264 -preset veryfast \
    -profile:v baseline -vf scale=320:180,format=yuv420p -c:a libopus -ar 48000 -ac 2 -f null -
}
# RTSP in, DTLS and SRTP out; the picture as it is, the sound encoded.
pushes() { # key
  local pid status=1
  "${run[@]}" -hide_banner -nostdin -loglevel error -rtsp_transport tcp -i "rtsp://127.0.0.1:$rtsp_port/cam" \
    -c:v copy -c:a libopus -ar 48000 -ac 2 -f whip "http://127.0.0.1:$whip_port/whip/ok/own-$1" </dev/null &
  pid=$!
  within 30 decodes "own-$1" 25 && status=0
  kill "$pid"
  wait "$pid" 2>/dev/null
  return "$status"
}
