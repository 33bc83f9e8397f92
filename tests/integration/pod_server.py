"""What port-forwards lead to: servers of several tempers on 127.0.0.1, one for each port. Run inside a pod's network.

Prints "ready" when all of them listen.
"""

import asyncio
import hashlib
import socket
import struct

ECHO, ENDLESS, RESETS, DIGEST, TALKS_FIRST, STUCK, OPEN_COUNT, CLOSED = range(8000, 8008)
OPEN = {"count": 0}


async def echo(reader, writer):
    while data := await reader.read(65536):
        writer.write(data)
        await writer.drain()


async def endless(_, writer):
    while True:
        writer.write(bytes(65536))
        await writer.drain()


async def resets(reader, writer):
    await reader.read(1)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def digest(reader, writer):
    """Answers when it has read all, and takes longer for it than a second."""
    data = await reader.read()
    await asyncio.sleep(2)
    writer.write(f"{len(data)} {hashlib.sha256(data).hexdigest()}".encode())


async def talks_first(_, writer):
    writer.write(b"bye")


async def stuck(_, __):
    await asyncio.sleep(3600)


async def open_count(_, writer):
    writer.write(str(OPEN["count"]).encode())


def counted(serve):
    async def session(reader, writer):
        OPEN["count"] += serve is not open_count
        try:
            await serve(reader, writer)
        except ConnectionError:
            pass
        finally:
            OPEN["count"] -= serve is not open_count
            writer.close()
    return session


async def main():
    servers = {ECHO: echo, ENDLESS: endless, RESETS: resets, DIGEST: digest, TALKS_FIRST: talks_first, STUCK: stuck,
               OPEN_COUNT: open_count}
    for port, serve in servers.items():
        await asyncio.start_server(counted(serve), "127.0.0.1", port, limit=65536, backlog=1000)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
