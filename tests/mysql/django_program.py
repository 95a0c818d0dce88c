"""Locks names and tables through Django's MySQL connection with the statements and names of django-mysql's Lock and TableLock.

Reads one JSON array a line, a command and its parameters, and answers each with one JSON value.
"""

import json
import sys
import time

import django
from django.conf import settings

host, port, user, password, database = sys.argv[1:]
settings.configure(
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.mysql",
            "HOST": host,
            "PORT": port,
            "USER": user,
            "PASSWORD": password,
            "NAME": database,
        }
    }
)
django.setup()

from django.db import connection  # noqa: E402 (needs the settings)
from django.db.transaction import atomic  # noqa: E402

transaction = None


def one(sql, *parameters):
    with connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchone()[0]


def execute(sql):
    with connection.cursor() as cursor:
        cursor.execute(sql)


def server_name(name):
    return ".".join((connection.settings_dict["NAME"], name))


def acquire(name, timeout):
    return one("SELECT GET_LOCK(%s, %s)", server_name(name), timeout)


def release(name):
    return one("SELECT RELEASE_LOCK(%s)", server_name(name))


def holder(name):
    return one("SELECT IS_USED_LOCK(%s)", server_name(name))


def connection_id():
    return one("SELECT CONNECTION_ID()")


def lock_tables(read, write):
    global transaction
    quote = connection.ops.quote_name
    locks = [f"{quote(name)} READ" for name in read] + [f"{quote(name)} WRITE" for name in write]
    transaction = atomic()
    transaction.__enter__()
    execute("LOCK TABLES " + ", ".join(locks))
    return True


def unlock_tables():
    transaction.__exit__(None, None, None)
    execute("UNLOCK TABLES")
    return True


def change(sql):
    execute(sql)
    return True


def take_turns(names, start, seconds, tables=False):
    """Returns when each turn began and ended, with the place of its name: each name for an equal share of the time.

    Each turn has a connection of its own, as each request has in Django, and each lock of the other program.
    """
    turns = []
    while (place := int((time.time() - start) / seconds * len(names))) < len(names):
        name = names[place]
        if not (lock_tables([], [name]) if tables else acquire(name, 30)):
            continue
        begin = time.time()
        time.sleep(0.02)
        turns.append([place, begin, time.time()])
        unlock_tables() if tables else release(name)
        connection.close()
    return turns


commands = [take_turns, acquire, release, holder, connection_id, lock_tables, unlock_tables, change]
by_name = {command.__name__: command for command in commands}
for line in sys.stdin:
    command, *parameters = json.loads(line)
    print(json.dumps(by_name[command](*parameters)), flush=True)
