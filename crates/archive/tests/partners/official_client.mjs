// Elastic's own client against the cluster for tests: what it does to a real Elasticsearch must
// give the same here. Arguments: the address, and what our own client wrote there, as JSON.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { Client, errors } from "@elastic/elasticsearch";

const [node, json] = process.argv.slice(2);
const written = JSON.parse(json);
const client = new Client({ node, maxRetries: 0 });

// The client refuses whatever does not say that it is Elasticsearch.
const info = await client.info();
assert.equal(info.tagline, "You Know, for Search");

// What our client wrote is there for this one too.
const logs = await client.search({
  index: "windlass-logs-*",
  query: { bool: { filter: [{ term: { kind: "log" } }, { term: { repo: written.repo } }] } },
  sort: [{ step: { order: "asc" } }],
});
assert.equal(logs.hits.hits.length, 1);
const log = logs.hits.hits[0]._source;
assert.equal(log.sha256, written.sha256);
const filter = [{ term: { kind: "block" } }, { term: { repo: written.repo } }];
const counted = await client.count({ index: "windlass-logs-*", query: { bool: { filter } } });
assert.equal(counted.count, log.blocks);
let text = "", after, blocks = 0;
for (;;) {
  const page = await client.search({
    index: "windlass-logs-*",
    size: 2,
    query: { bool: { filter } },
    sort: [{ seq: { order: "asc" } }],
    ...(after ? { search_after: after } : {}),
  });
  if (page.hits.hits.length === 0) break;
  for (const hit of page.hits.hits) {
    assert.equal(hit._source.seq, blocks++);
    text += hit._source.text;
    after = hit.sort;
  }
}
assert.equal(blocks, log.blocks);
// The log is plain text, so its text is its bytes.
assert.equal(createHash("sha256").update(text).digest("hex"), written.sha256);
const found = await client.search({
  index: "windlass-logs-*",
  query: { bool: { filter: [{ match: { text: { query: "number 7", operator: "and" } } }] } },
});
assert.ok(found.hits.hits.length > 0);

// Templates, strict mappings, create: each with the errors that the client makes of the answers.
await client.indices.putIndexTemplate({
  name: "t",
  index_patterns: ["t-*"],
  priority: 1,
  template: {
    mappings: { dynamic: "strict", properties: { n: { type: "long" }, k: { type: "keyword" } } },
  },
});
const bulk = await client.bulk({
  operations: [
    { create: { _index: "t-1", _id: "a" } }, { n: 1 },
    { create: { _index: "t-1", _id: "a" } }, { n: 2 },
    { create: { _index: "t-1", _id: "b" } }, { unknown: 1 },
    { create: { _index: "t-1", _id: "c" } }, { n: "x" },
    { create: { _index: "t-1", _id: "d" } }, { k: "k".repeat(40000) },
    { index: { _index: "t-2", _id: "e" } }, { n: 5 },
  ],
});
assert.equal(bulk.errors, true);
assert.deepEqual(
  bulk.items.map((item) => Object.values(item)[0]).map((i) => [i.status, i.error?.type ?? i.result]),
  [
    [201, "created"],
    [409, "version_conflict_engine_exception"],
    [400, "strict_dynamic_mapping_exception"],
    [400, "document_parsing_exception"],
    [400, "illegal_argument_exception"],
    [201, "created"],
  ],
);
// Not visible before a refresh.
assert.equal((await client.count({ index: "t-*" })).count, 0);
await client.indices.refresh({ index: "t-*" });
assert.equal((await client.count({ index: "t-*" })).count, 2);
const helper = await client.helpers.bulk({
  datasource: Array.from({ length: 50 }, (_, n) => ({ n })),
  onDocument: (document) => [{ create: { _index: "t-3", _id: String(document.n) } }, document],
  refreshOnCompletion: "t-3",
});
assert.deepEqual([helper.successful, helper.failed], [50, 0]);
const deleted = await client.deleteByQuery({
  index: "t-*", query: { term: { n: 7 } }, refresh: true, conflicts: "proceed",
});
assert.equal(deleted.deleted, 1);
assert.equal((await client.count({ index: "t-3" })).count, 49);
const rows = await client.cat.indices({ index: "t-*", format: "json", h: "index" });
assert.deepEqual(rows.map((row) => row.index).sort(), ["t-1", "t-2", "t-3"]);
await client.indices.delete({ index: "t-1" });
await assert.rejects(client.search({ index: "t-1" }), (error) => {
  assert.ok(error instanceof errors.ResponseError);
  assert.equal(error.statusCode, 404);
  assert.equal(error.body.error.type, "index_not_found_exception");
  return true;
});
await assert.rejects(client.indices.delete({ index: "t-*" }), errors.ResponseError);
await assert.rejects(
  client.search({ index: "t-2", query: { nonsense: {} } }),
  (error) => error.body.error.type === "parsing_exception",
);
await assert.rejects(
  client.search({ index: "t-2", size: 10001 }),
  (error) => error.statusCode === 400,
);
console.log(JSON.stringify({ checked: true, blocks }));
