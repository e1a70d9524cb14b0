#!/usr/bin/env python3
"""A camera whose clock can be set while it sends. Lab part of tests/e2e; needs nothing but Python.

usage: clock_camera.py [--port N] [--fps F] [--step SECONDS --after SECONDS] CLIP

  CLIP    H.264 as it comes from `-f h264` with access unit delimiters; played for ever, beside a tone (PCMA).
  --step  how far the camera's clock jumps, once a viewer has watched for --after seconds. Its sender reports (RTCP)
          tell of it, as a real camera's do whose time was set by NTP; pictures go on at their pace.

The first line on stdout is "listening PORT".
"""
import argparse, re, socket, struct, threading, time

ap = argparse.ArgumentParser()
ap.add_argument("--port", type=int, default=0)
ap.add_argument("--fps", type=float, default=25)
ap.add_argument("--step", type=float, default=0)
ap.add_argument("--after", type=float, default=8)
ap.add_argument("clip")
a = ap.parse_args()

units = []                                  # access units, each a list of NAL units
for nal in re.split(rb"\x00\x00\x00?\x01", open(a.clip, "rb").read()):
    if nal and nal[0] & 31 == 9:
        units.append([])
    elif nal and units:
        units[-1].append(nal)

SDP = ("v=0\r\no=- 1 1 IN IP4 127.0.0.1\r\ns=cam\r\nc=IN IP4 0.0.0.0\r\nt=0 0\r\n"
       "m=video 0 RTP/AVP 96\r\na=rtpmap:96 H264/90000\r\na=fmtp:96 packetization-mode=1\r\na=control:track0\r\n"
       "m=audio 0 RTP/AVP 8\r\na=rtpmap:8 PCMA/8000\r\na=control:track1\r\n")


def play(c, stop):
    start = time.time()
    seq = [0, 0]

    def rtp(channel, kind, mark, stamp, body):
        seq[channel // 2] += 1
        head = struct.pack(">BBHII", 0x80, kind | (mark << 7), seq[channel // 2] & 0xffff, stamp & 0xffffffff, 7 + channel)
        c.sendall(struct.pack(">cBH", b"$", channel, len(head) + len(body)) + head + body)

    def report(channel, rate, now):
        ntp = start + now + 2208988800 + (a.step if now >= a.after else 0)
        body = struct.pack(">BBHIIIIII", 0x80, 200, 6, 7 + channel, int(ntp), int(ntp % 1 * 2**32), int(now * rate) & 0xffffffff, 0, 0)
        c.sendall(struct.pack(">cBH", b"$", channel + 1, len(body)) + body)

    picture = sound = 0
    reported = -1
    while not stop.is_set():
        now = time.time() - start
        if int(now) != reported:
            reported = int(now)
            report(0, 90000, now)
            report(2, 8000, now)
        while picture / a.fps <= now:
            nals = units[picture % len(units)]
            stamp = int(picture / a.fps * 90000)
            for at, nal in enumerate(nals):
                last = at == len(nals) - 1
                pieces = [nal[1 + i:1 + i + 1200] for i in range(0, max(1, len(nal) - 1), 1200)]
                if len(pieces) == 1:
                    rtp(0, 96, last, stamp, nal)
                    continue
                for i, piece in enumerate(pieces):
                    ends = (0x80 if i == 0 else 0) | (0x40 if i == len(pieces) - 1 else 0)
                    rtp(0, 96, last and i == len(pieces) - 1, stamp, bytes([nal[0] & 0xe0 | 28, ends | nal[0] & 31]) + piece)
            picture += 1
        while sound * 0.02 <= now:
            rtp(2, 8, 0, sound * 160, b"\xd5" * 160)
            sound += 1
        time.sleep(0.005)


def serve(c):
    buffer, stop = b"", threading.Event()
    try:
        while True:
            while b"\r\n\r\n" not in buffer:
                got = c.recv(4096)
                if not got:
                    return
                buffer += got
                while buffer[:1] == b"$" and len(buffer) >= 4:     # the viewer's own reports
                    buffer = buffer[4 + struct.unpack(">H", buffer[2:4])[0]:]
            head, buffer = buffer.split(b"\r\n\r\n", 1)
            head = head.decode("latin1")
            method, cseq = head.split(" ")[0], re.search(r"CSeq: *(\d+)", head).group(1)
            extra, body = "Session: 1;timeout=60\r\n", ""
            if method == "DESCRIBE":
                body = SDP
                extra = f"Content-Type: application/sdp\r\nContent-Length: {len(SDP)}\r\n"
            elif method == "SETUP":
                channel = 2 if "track1" in head else 0
                extra += f"Transport: RTP/AVP/TCP;unicast;interleaved={channel}-{channel + 1}\r\n"
            c.sendall(f"RTSP/1.0 200 OK\r\nCSeq: {cseq}\r\n{extra}\r\n{body}".encode())
            if method == "PLAY":
                threading.Thread(target=lambda: quietly(play, c, stop), daemon=True).start()
    finally:
        stop.set()
        c.close()


def quietly(what, *args):
    try:
        what(*args)
    except OSError:
        pass


listener = socket.create_server(("127.0.0.1", a.port))
print("listening", listener.getsockname()[1], flush=True)
while True:
    client, _ = listener.accept()
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    threading.Thread(target=quietly, args=(serve, client), daemon=True).start()
