"""A small application's data, its migration, and its code before and after."""

import hashlib
import sqlite3
import sys


def make_data(db):
    db.execute("create table people (id integer primary key, name text not null)")
    db.executemany("insert into people (name) values (?)", [(f"person {n}",) for n in range(1000)])


def migrate(db):
    columns = [row[1] for row in db.execute("pragma table_info(people)")]
    if "email" not in columns:
        # Additive: with a default, so that the code of before can go on inserting.
        db.execute("alter table people add column email text not null default ''")


def old_code(db):
    db.execute("insert into people (name) values ('from the old code')")
    assert db.execute("select count(*) from people").fetchone()[0] > 1000


def new_code(db):
    db.execute("update people set email = 'a@example.org' where id = 1")
    assert db.execute("select email from people where id = 1").fetchone()[0] == "a@example.org"


def fingerprint(db):
    print(hashlib.sha256("\n".join(db.iterdump()).encode()).hexdigest())


command, path = sys.argv[1:]
database = sqlite3.connect(path)
with database:
    globals()[command.replace("-", "_")](database)
