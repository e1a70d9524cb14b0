#!/usr/bin/env python3
"""A WHIP receiver that is not ours (aiortc) and really decodes what it is sent. Lab part of tests/e2e.

Needs aiortc and aiohttp (tests/e2e/setup installs both into target/e2e/venv).

  POST   /whip/MODE/KEY   SDP offer -> 201 + Location: /res/SECRET
  DELETE /res/SECRET    -> 200, session closed
  GET    /stats[?key=K]   JSON: every session so far, and how often each key was POSTed to
  POST   /ctl/mode?key=K&mode=M    from now on K behaves as M, whatever its path says
  POST   /ctl/close?key=K          orderly end of K's sessions (DTLS close_notify, sockets closed); HTTP lives on
  POST   /ctl/freeze?key=K         K's sessions answer nothing on UDP any more (sockets stay open)

MODE is one or more of these words, joined by "+":
  ok          as a receiver should be
  NNN         the POST is answered with that HTTP status
  silent      the POST is never answered
  garbage     201, but the answer is no SDP
  blackhole   201, but nobody answers on the UDP port that the answer names
  one         409 while a session of that key is open
  bearer      401 without `Authorization: Bearer <--token>`
  mute        the DELETE is never answered
  consent     ends the session of a sender that answers no ICE consent checks (RFC 7675), as a full ICE agent
              should. Not by default: FFmpeg's muxer (9.0.2) answers none, and would be cut off after 33 s
  high        takes H.264 of any profile. Else Baseline alone: an offer of another one is answered with 400
  relative    Location without a leading slash, to be resolved against the request
  passive     takes only offers that leave it the DTLS client's part: 400 to others. passive-NNN: that status
  elsewhere   Location on another host (`localhost` in place of 127.0.0.1)
  moved       307 to the same on that other host, once
  slow-S      answers the POST after S seconds
  busy-S      503 to any request, with Retry-After of S seconds
  deaf        answers nothing in the DTLS handshake where it has the server's part

The first line on stdout is "listening PORT"; then one JSON line an event.
"""
import argparse, asyncio, collections, json, re, secrets, socket, time, types
from aiohttp import web
import aioice.ice
import aiortc.rtcrtpreceiver
from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription
from aiortc.mediastreams import MediaStreamError

ap = argparse.ArgumentParser()
ap.add_argument("--port", type=int, default=0, help="0 = any free one")
ap.add_argument("--token", default="", help="what mode `bearer` asks for")
ap.add_argument("--no-decode", action="store_true", help="count coded frames, decode none (cheap)")
a = ap.parse_args()

HOST = "127.0.0.1"
sessions = {}                      # resource name -> session
posts = collections.Counter()      # key -> POSTs seen
modes = {}                         # key -> mode, where /ctl/mode changed it
holes = []                         # bound UDP sockets that nobody reads

aioice.ice.get_host_addresses = lambda use_ipv4, use_ipv6: [HOST]   # loopback candidates only


def count_only(loop, input_q, output_q, _decode_error):
    """In place of aiortc's decoder thread: passes on that there was a frame, not the frame."""
    while True:
        task = input_q.get()
        frame = None if task is None else types.SimpleNamespace(pts=None, width=0, height=0)
        asyncio.run_coroutine_threadsafe(output_q.put(frame), loop)
        if task is None:
            return


if a.no_decode:
    aiortc.rtcrtpreceiver.decoder_worker = count_only


def say(event, **fields):
    print(json.dumps(dict(event=event, t=round(time.time(), 3), **fields)), flush=True)


async def pump(session, track):
    seen = session[track.kind]
    last = None
    while True:
        try:
            frame = await track.recv()
        except MediaStreamError:
            return
        seen["frames"] += 1
        seen["last_epoch"] = round(time.time(), 3)
        if seen["first_epoch"] is None:
            seen["first_epoch"] = seen["last_epoch"]
            say("first_frame", key=session["key"], kind=track.kind)
        if track.kind == "video":
            seen["size"][f"{frame.width}x{frame.height}"] += 1
        if frame.pts is not None:
            at = float(frame.pts * frame.time_base)
            if last is not None and at <= last:
                seen["pts_backwards"] += 1
            elif last is not None:
                seen["max_gap"] = max(seen["max_gap"], round(at - last, 4))
            last = at


def mode_of(request):
    key = request.match_info["key"]
    return key, set(modes.get(key, request.match_info["mode"]).split("+"))


def black_hole(sdp):
    """The answer with its media port swapped for one where nobody listens to what arrives."""
    hole = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    hole.bind((HOST, 0))
    holes.append(hole)
    lines = []
    for line in sdp.splitlines():
        words = line.split(" ")
        if line.startswith("a=candidate:"):
            words[5] = str(hole.getsockname()[1])
        elif line.startswith("m="):
            words[1] = str(hole.getsockname()[1])
        lines.append(" ".join(words))
    return "\r\n".join(lines) + "\r\n"


async def never():
    await asyncio.Event().wait()


def connections(pc):
    return [t.receiver.transport.transport._connection for t in pc.getTransceivers()]


async def offer(request):
    key, mode = mode_of(request)
    body = await request.text()
    posts[key] += 1
    auth = request.headers.get("Authorization", "")
    say("post", key=key, mode=sorted(mode), bytes=len(body), user_agent=request.headers.get("User-Agent"))
    if "silent" in mode:
        await asyncio.sleep(3600)
    if "moved" in mode and not request.host.startswith("localhost"):
        return web.Response(status=307, headers={"Location": f"http://localhost:{request.url.port}{request.path}"})
    for word in mode:
        if word.startswith("slow-"):
            await asyncio.sleep(float(word[5:]))
        if word.startswith("busy-"):
            return busy(word)
        if word.isdigit():
            return web.Response(status=int(word), text="as ordered")
        if word.startswith("passive") and "a=setup:active" in body:
            return web.Response(status=int(word.partition("-")[2] or 400), text="no DTLS client, please")
    if "bearer" in mode and auth != f"Bearer {a.token}":
        return web.Response(status=401, text="wrong token", headers={"WWW-Authenticate": "Bearer"})
    if "one" in mode and any(s["key"] == key and not s["deleted"] and s["state"] not in ("failed", "closed") for s in sessions.values()):
        return web.Response(status=409, text="this key is being sent to already")
    if "m=" not in body:
        return web.Response(status=400, text="no SDP")
    resource = f"cAnary{len(sessions) + 1}-{secrets.token_hex(8)}"   # whoever knows it can end the session
    location = {"Location": f"/res/{resource}" if "relative" not in mode else f"../../res/{resource}"}
    if "elsewhere" in mode:
        location["Location"] = f"http://localhost:{request.url.port}{location['Location']}"
    if "garbage" in mode:
        return web.Response(status=201, text="<html>captive portal</html>", content_type="application/sdp", headers=location)
    pc = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    new = lambda: dict(frames=0, first_epoch=None, last_epoch=None, size=collections.Counter(), pts_backwards=0, max_gap=0.0)
    session = sessions[resource] = dict(key=key, mode=mode, pc=pc, state="new", post_epoch=round(time.time(), 3),
                                        deleted=False, delete_auth=None, video=new(), audio=new(), codecs=[], tasks=[])

    @pc.on("track")
    def _(track):
        session["tasks"].append(asyncio.ensure_future(pump(session, track)))

    @pc.on("connectionstatechange")
    async def _():
        session["state"] = pc.connectionState
        say("state", key=key, state=pc.connectionState)
        if pc.connectionState == "failed":
            await pc.close()

    if "high" in mode:
        # aiortc decodes them all, and answers for Baseline alone.
        body = re.sub(r"profile-level-id=\w+", "profile-level-id=42e01f", body)
    try:
        await pc.setRemoteDescription(RTCSessionDescription(body, "offer"))
        if "consent" not in mode:
            for connection in connections(pc):
                connection.query_consent = never
        if "deaf" in mode and "a=setup:active" in body:
            for transceiver in pc.getTransceivers():
                transceiver.receiver.transport._do_handshake = never
        await pc.setLocalDescription(await pc.createAnswer())
    except Exception as e:
        say("bad_offer", key=key, why=repr(e))
        return web.Response(status=400, text=repr(e))
    sdp = pc.localDescription.sdp
    if "blackhole" in mode:
        sdp = black_hole(sdp)
    session["codecs"] = [l[9:].strip() for l in sdp.splitlines() if l.startswith("a=rtpmap:")]
    return web.Response(status=201, text=sdp, content_type="application/sdp", headers=location)


def busy(word):
    return web.Response(status=503, text="later", headers={"Retry-After": word[5:]})


async def options(request):
    _, mode = mode_of(request)
    for word in mode:
        if word.startswith("busy-"):
            return busy(word)
    return web.Response(status=204)


async def delete(request):
    session = sessions.get(request.match_info["resource"])
    say("delete", key=session and session["key"], user_agent=request.headers.get("User-Agent"))
    if not session:
        return web.Response(status=404)
    session["deleted"] = True
    session["delete_auth"] = request.headers.get("Authorization")
    if session["state"] != "closed":
        asyncio.ensure_future(session["pc"].close())
    if "mute" in session["mode"]:
        await asyncio.sleep(3600)
    return web.Response(text="bye")


async def stats(request):
    key = request.query.get("key")
    out = []
    for session in sessions.values():
        if key in (None, session["key"]):
            shown = {k: v for k, v in session.items() if k not in ("pc", "tasks", "mode")}
            out.append(shown)
    return web.json_response(dict(sessions=out, posts=posts))


async def ctl(request):
    op, key = request.match_info["op"], request.query["key"]
    say("ctl", op=op, key=key)
    mine = [s for s in sessions.values() if s["key"] == key]
    if op == "mode":
        modes[key] = request.query["mode"]
    elif op == "close":
        for session in mine:
            await session["pc"].close()
    elif op == "freeze":
        for session in mine:
            for ice in connections(session["pc"]):
                for protocol in ice._protocols:
                    protocol.datagram_received = lambda data, addr: None
                    protocol.transport.sendto = lambda *args: None
    else:
        return web.Response(status=404)
    return web.json_response({})


async def main():
    app = web.Application()
    app.add_routes([web.post("/whip/{mode}/{key}", offer), web.route("OPTIONS", "/whip/{mode}/{key}", options), web.delete("/res/{resource}", delete),
                    web.get("/stats", stats), web.post("/ctl/{op}", ctl)])
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, HOST, a.port, reuse_address=True)
    await site.start()
    print("listening", site._server.sockets[0].getsockname()[1], flush=True)
    await asyncio.Event().wait()


asyncio.run(main())
