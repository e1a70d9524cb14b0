#!/usr/bin/env python3
"""An RTSP camera that is not ours (gst-rtsp-server): one clip a mount point, paced in real time. Lab part of tests/e2e.

Needs gst-rtsp-server and its Python binding, which belong to /usr/bin/python3 (tests/e2e/setup installs
python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-{base,good,bad}).

usage: rtsp_src.py [--port N] [--user U --password P --auth digest|basic] MOUNT=SOURCE ...

  SOURCE  a .mp4 or .mkv file whose name says what is in it: video h264, or h265 if "h265" is in the name; audio AAC,
          or PCMA if "pcma" is, or none if "noaudio" is. The stream ends (RTSP EOS) where the file ends.
          `live` or `live:WIDTHxHEIGHT` = a moving test picture with a tone, encoded on the spot, that never ends.

The first line on stdout is "listening PORT". `kill -STOP` = the camera hangs; `kill -KILL` = it loses power.
"""
import argparse
import gi
gi.require_version("Gst", "1.0")
gi.require_version("GstRtsp", "1.0")
gi.require_version("GstRtspServer", "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer

ap = argparse.ArgumentParser()
ap.add_argument("--port", type=int, default=0, help="0 = any free one")
ap.add_argument("--user")
ap.add_argument("--password", default="")
ap.add_argument("--auth", default="digest", choices=["digest", "basic"])
ap.add_argument("mounts", nargs="+", metavar="MOUNT=SOURCE")
a = ap.parse_args()
Gst.init(None)


def live(size):
    width, height = (size or "1280x720").split("x")
    return (f"( videotestsrc is-live=true pattern=ball ! video/x-raw,width={width},height={height},framerate=25/1 "
            "! openh264enc complexity=low bitrate=1500000 gop-size=25 ! h264parse ! rtph264pay name=pay0 pt=96 config-interval=-1 "
            "audiotestsrc is-live=true wave=ticks ! audioconvert ! voaacenc ! aacparse ! rtpmp4gpay name=pay1 pt=97 )")


def clip(path):
    video = "h265" if "h265" in path else "h264"
    demux = "matroskademux" if path.endswith(".mkv") else "qtdemux"
    audio = "" if "noaudio" in path else "d.audio_0 ! queue ! " + (
        "rtppcmapay name=pay1 pt=8 " if "pcma" in path else "aacparse ! rtpmp4gpay name=pay1 pt=97 ")
    return (f'( filesrc location="{path}" ! {demux} name=d '
            f"d.video_0 ! queue ! {video}parse ! rtp{video}pay name=pay0 pt=96 config-interval=-1 {audio})")


server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(str(a.port))
if a.user:
    auth = GstRtspServer.RTSPAuth()
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "user")
    if a.auth == "digest":
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.DIGEST)
        auth.add_digest(a.user, a.password, token)
    else:
        auth.set_supported_methods(GstRtsp.RTSPAuthMethod.BASIC)
        auth.add_basic(GstRtspServer.RTSPAuth.make_basic(a.user, a.password), token)
    server.set_auth(auth)
for mount in a.mounts:
    name, source = mount.split("=", 1)
    factory = GstRtspServer.RTSPMediaFactory()
    kind, _, size = source.partition(":")
    factory.set_launch(live(size) if kind == "live" else clip(source))
    factory.set_shared(True)
    if a.user:
        permissions = GstRtspServer.RTSPPermissions()
        for right in ("access", "construct"):
            permissions.add_permission_for_role("user", f"media.factory.{right}", True)
        factory.set_permissions(permissions)
    server.get_mount_points().add_factory("/" + name, factory)
if not server.attach(None):
    raise SystemExit("cannot bind")
print("listening", server.get_bound_port(), flush=True)
GLib.MainLoop().run()
