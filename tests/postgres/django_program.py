"""Takes an advisory lock through Django as django-pglocks 1 does, until its input ends.

With a number of seconds it reads start times instead. After each it takes turns of 20 ms for so long, each id for an
equal share, and prints them as one line of JSON.
"""

import json
import sys
import time
import zlib
from contextlib import contextmanager

import django
from django.conf import settings

port, lock_id, wait, shared, seconds = json.loads(sys.argv[1])
settings.configure(
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": "127.0.0.1",
            "PORT": port,
            "USER": "postgres",
            "NAME": "postgres",
        }
    }
)
django.setup()

from django.db import connection  # noqa: E402 (needs the settings)


def parameters_of(lock_id):
    """A text counts by its CRC-32 as a signed number of 32 bits; a number is itself; a list is two numbers."""
    if isinstance(lock_id, str):
        crc = zlib.crc32(lock_id.encode("utf-8"))
        key = (2**31 - 1) & crc
        if crc & 2**31:
            key -= 2**31
        return [key]
    return lock_id if isinstance(lock_id, list) else [lock_id]


@contextmanager
def advisory_lock(lock_id, shared=False, wait=True):
    parameters = parameters_of(lock_id)
    places = ", ".join("%s" for _ in parameters)
    suffix = "_shared" if shared else ""
    cursor = connection.cursor()
    cursor.execute(f"SELECT pg_{'' if wait else 'try_'}advisory_lock{suffix}({places})", parameters)
    acquired = True if wait else cursor.fetchone()[0]
    try:
        yield acquired
    finally:
        if acquired:
            cursor.execute(f"SELECT pg_advisory_unlock{suffix}({places})", parameters)
        cursor.close()


def take_turns(ids, seconds):
    """Prints [place, begin, end] of each turn: one line of JSON for each start time."""
    connection.ensure_connection()
    print("ready", flush=True)
    for line in sys.stdin:
        start = float(line)
        turns = []
        while (place := int((time.time() - start) / seconds * len(ids))) < len(ids):
            with advisory_lock(ids[place]):
                begin = time.time()
                time.sleep(0.02)
                turns.append([place, begin, time.time()])
        print(json.dumps(turns), flush=True)


if seconds:
    take_turns(lock_id, seconds)
else:
    with advisory_lock(lock_id, shared, wait) as acquired:
        print("acquired" if acquired else "busy", flush=True)
        sys.stdin.read()
