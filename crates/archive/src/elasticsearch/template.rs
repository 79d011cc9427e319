//! The template of our indices: every field is named, and nothing else is taken.

use serde_json::{Value, json};

use super::ClusterInfo;

/// Raise it with every change of the template.
const VERSION: u32 = 1;

/// The template for indices that begin with `prefix`.
pub(super) fn template(prefix: &str, info: &ClusterInfo) -> Value {
    // Longer than any of ours; a term of more than 32,766 bytes would make the document fail.
    let keyword = json!({"type": "keyword", "ignore_above": 4096});
    let unsearched = json!({"type": "binary"});
    json!({
        "index_patterns": [format!("{prefix}-*")],
        "priority": 500,
        "version": VERSION,
        "_meta": {"owner": "windlass", "description": "Build logs of Windlass"},
        "template": {
            "settings": {
                "index": {
                    "number_of_shards": 1,
                    "codec": "best_compression",
                    "refresh_interval": "30s"
                }
            },
            "mappings": {
                "dynamic": "strict",
                "properties": {
                    "@timestamp": {"type": "date"},
                    "kind": keyword,
                    "instance": keyword,
                    "repo": keyword,
                    "build": {"type": "long"},
                    "attempt": {"type": "long"},
                    "job": keyword,
                    "step": {"type": "long"},
                    "step_name": keyword,
                    "started": {"type": "date"},
                    "seq": {"type": "long"},
                    "first_line": {"type": "long"},
                    "line_count": {"type": "integer"},
                    "first_byte": {"type": "long"},
                    "byte_count": {"type": "integer"},
                    "text": {"type": text_type(info)},
                    "raw": unsearched,
                    "index": unsearched,
                    "crc32": {"type": "long"},
                    "blocks": {"type": "long"},
                    "bytes": {"type": "long"},
                    "lines": {"type": "long"},
                    "sha256": keyword,
                    "meta": unsearched,
                    "notes": unsearched
                }
            }
        }
    })
}

/// `match_only_text` takes less room (no positions, no scores); Elasticsearch has it since 7.14,
/// OpenSearch since 2.12.
fn text_type(info: &ClusterInfo) -> &'static str {
    let mut parts = info.version.split('.').map(|part| part.parse().ok());
    let version: (u32, u32) = (
        parts.next().flatten().unwrap_or(0),
        parts.next().flatten().unwrap_or(0),
    );
    let since = match info.product.as_str() {
        "elasticsearch" => (7, 14),
        "opensearch" => (2, 12),
        _ => return "text",
    };
    if version >= since {
        "match_only_text"
    } else {
        "text"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn old_clusters_get_a_text_that_they_know() {
        let kind = |product: &str, version: &str| {
            text_type(&ClusterInfo {
                name: String::new(),
                product: product.to_owned(),
                version: version.to_owned(),
            })
        };
        for (product, version, expected) in [
            ("elasticsearch", "7.13.4", "text"),
            ("elasticsearch", "7.14.0", "match_only_text"),
            ("elasticsearch", "9.1.0-SNAPSHOT", "match_only_text"),
            ("opensearch", "2.11.1", "text"),
            ("opensearch", "3.0.0", "match_only_text"),
            ("quickwit", "9.0.0", "text"),
            ("elasticsearch", "", "text"),
        ] {
            assert_eq!(kind(product, version), expected, "{product} {version}");
        }
    }
}
