"""Measures the locks of django-lockmgr, django-pglocks and django-mysql through Django, each as its manual describes it.

Reads one order a line, as `worker.ts` does, and answers with the microseconds that taking a name and giving it back takes.
"""

import json
import os
import sys
import time
import zlib
from datetime import timedelta
from urllib.parse import unquote, urlsplit

import django
from django.conf import settings

LABELS = {"postgres": "PostgreSQL", "mysql": "MySQL", "mariadb": "MariaDB", "sqlite": "SQLite"}
NAME = "name 0"
# A turn begins with uncounted runs for so long a share of it, as those of the others do.
WARMING = 0.5


def database_at(url):
    """Django's settings for a server."""
    parts = urlsplit(url)
    return {
        "ENGINE": f"django.db.backends.{'postgresql' if parts.scheme.startswith('postgres') else 'mysql'}",
        "HOST": parts.hostname,
        "PORT": str(parts.port),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "NAME": parts.path[1:],
    }


def databases_of(places):
    """All databases, by engine. The file of SQLite is Django's own, with the journal that it makes."""
    found = {engine: database_at(places[engine]) for engine in ("postgres", "mysql", "mariadb") if engine in places}
    path = os.path.join(places["directory"], "django.sqlite3")
    return {"default": {}, **found, "sqlite": {"ENGINE": "django.db.backends.sqlite3", "NAME": path}}


def rows_of(engines):
    """django-lockmgr: a row for each name that is held."""
    from django.db import connections, models, transaction
    from django.utils import timezone

    class Lock(models.Model):
        name = models.CharField(max_length=255, primary_key=True)
        locked_by = models.CharField(max_length=255)
        lock_process = models.IntegerField(null=True)
        locked_until = models.DateTimeField(null=True)
        created_at = models.DateTimeField(auto_now_add=True)
        updated_at = models.DateTimeField(auto_now=True)

        class Meta:
            app_label = "predecessors"

    def work_on(engine):
        with connections[engine].schema_editor() as editor:
            editor.create_model(Lock)
        locks = Lock.objects.using(engine)

        def pair():
            now = timezone.now()
            locks.filter(locked_until__lte=now).delete()
            with transaction.atomic(using=engine):
                if locks.select_for_update().filter(name=NAME).first():
                    raise RuntimeError("a name that is free was refused")
                until = now + timedelta(seconds=600)
                lock = locks.create(name=NAME, locked_by="bench", locked_until=until)
            lock.delete(using=engine)

        return pair

    return {f"django-lockmgr on {LABELS[engine]}": work_on(engine) for engine in engines}


def asking(engine, take, give, parameter):
    """A lock of the server: taken by one question and given back by another."""
    from django.db import connections

    def pair():
        with connections[engine].cursor() as cursor:
            cursor.execute(take, [parameter])
            cursor.fetchone()
            cursor.execute(give, [parameter])
            cursor.fetchone()

    return pair


def work_of(places):
    """What can be measured, by label."""
    settings.configure(DATABASES=databases_of(places), USE_TZ=True)
    django.setup()
    engines = [engine for engine in LABELS if engine in places]
    work = rows_of(engines)
    if "postgres" in engines:
        key = zlib.crc32(NAME.encode())
        key -= (key & 2**31) << 1
        functions = ("SELECT pg_advisory_lock(%s)", "SELECT pg_advisory_unlock(%s)")
        work["django-pglocks on PostgreSQL"] = asking("postgres", *functions, key)
    for engine in ("mysql", "mariadb"):
        if engine in engines:
            functions = ("SELECT GET_LOCK(%s, 10)", "SELECT RELEASE_LOCK(%s)")
            work[f"django-mysql on {LABELS[engine]}"] = asking(engine, *functions, f"bench.{NAME}")
    return work


def timed(milliseconds, pair):
    """Microseconds of a run, in a turn of so many milliseconds."""
    warm = time.perf_counter() + milliseconds / 1e3 * WARMING
    while True:
        pair()
        if time.perf_counter() >= warm:
            break
    started, runs, taken = time.perf_counter(), 0, 0.0
    while taken < milliseconds / 1e3:
        pair()
        runs += 1
        taken = time.perf_counter() - started
    return taken / runs * 1e6


work = None
for line in sys.stdin:
    order = json.loads(line)["with"]
    try:
        work = work or work_of(order["places"])
        said = {"answer": timed(order["turn"], work[order["label"]])}
    except Exception as error:
        said = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(said), flush=True)
