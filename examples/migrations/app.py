"""An address book: GET /people, and POST /people with a given and a family name. Release 2.0."""

import json
import os
from wsgiref.simple_server import make_server

import psycopg2


def people(cursor):
    cursor.execute("select id, given, family from people order by id")
    return [{"id": id, "given": given, "family": family} for id, given, family in cursor]


def add(cursor, person):
    cursor.execute(
        "insert into people (given, family) values (%s, %s) returning id",
        (person["given"], person["family"]),
    )
    return {"id": cursor.fetchone()[0]}


def application(environ, start_response):
    database = psycopg2.connect(os.environ["DATABASE_URL"])
    try:
        with database, database.cursor() as cursor:
            if environ["REQUEST_METHOD"] == "POST":
                length = int(environ.get("CONTENT_LENGTH") or 0)
                answer = add(cursor, json.loads(environ["wsgi.input"].read(length)))
            else:
                answer = people(cursor)
    finally:
        database.close()
    start_response("200 OK", [("Content-Type", "application/json")])
    return [json.dumps(answer).encode()]


if __name__ == "__main__":
    make_server("", 8000, application).serve_forever()
