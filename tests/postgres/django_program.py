"""Takes an advisory lock through Django, by the key that django-pglocks 1 has for a text, until its input ends."""

import ctypes
import sys
import zlib

import django
from django.conf import settings

port, name, wait = sys.argv[1:]
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

key = ctypes.c_int32(zlib.crc32(name.encode())).value
with connection.cursor() as cursor:
    if wait == "true":
        cursor.execute("SELECT pg_advisory_lock(%d)" % key)
        acquired = True
    else:
        cursor.execute("SELECT pg_try_advisory_lock(%d)" % key)
        acquired = cursor.fetchone()[0]
    print("acquired" if acquired else "busy", flush=True)
    sys.stdin.read()
    if acquired:
        cursor.execute("SELECT pg_advisory_unlock(%d)" % key)
