const { test } = require("node:test");
const assert = require("node:assert");
const { initials } = require("./index.js");

test("initials", () => assert.equal(initials("ada lovelace"), "AL"));
