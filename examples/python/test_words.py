import unittest


def initials(name):
    return "".join(word[0].upper() for word in name.split())


class Words(unittest.TestCase):
    def test_initials(self):
        self.assertEqual(initials("ada lovelace"), "AL")

    def test_nothing(self):
        self.assertEqual(initials(""), "")
