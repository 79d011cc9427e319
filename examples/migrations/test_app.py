"""Asks the application as a web server would, on the database of DATABASE_URL."""

import io
import json
import unittest
from wsgiref.util import setup_testing_defaults

from app import application


def ask(method, body=None):
    text = json.dumps(body).encode()
    environ = {"REQUEST_METHOD": method, "CONTENT_LENGTH": str(len(text)), "wsgi.input": io.BytesIO(text)}
    setup_testing_defaults(environ)
    return json.loads(b"".join(application(environ, lambda status, headers: None)))


class AddressBook(unittest.TestCase):
    def test_who_is_added_is_listed(self):
        ada = ask("POST", {"given": "Ada", "family": "Lovelace"})["id"]
        self.assertIn({"id": ada, "given": "Ada", "family": "Lovelace"}, ask("GET"))

    def test_a_name_may_be_one_word(self):
        plato = ask("POST", {"given": "Plato", "family": ""})["id"]
        self.assertIn({"id": plato, "given": "Plato", "family": ""}, ask("GET"))


if __name__ == "__main__":
    unittest.main()
