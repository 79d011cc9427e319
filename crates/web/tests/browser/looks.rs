//! What the page looks like: dark, on a phone, zoomed. Nothing overlaps, nothing is cut off, and
//! text can be read. The pictures in docs/screenshots are made here.

use serde_json::{Value, json};

use crate::chromium::{Browser, Setup, serve};
use crate::viewer::{STEP, failed};

/// The log of a test run as it happens every day.
pub(crate) fn everyday() -> (String, Value) {
    let mut text = String::from("::group::Install the toolchain\n");
    for n in 1..40 {
        text += &format!("\x1b[1m\x1b[32m  Downloading\x1b[0m crate-{n} v0.{n}.1\n");
    }
    text += "::endgroup::\n";
    for n in 1..60 {
        text += &format!(
            "\x1b[1m\x1b[32m   Compiling\x1b[0m crate-{n} v0.{n}.1 (/workspace/crates/crate-{n})\n"
        );
    }
    text += "\x1b[1m\x1b[33mwarning\x1b[0m\x1b[1m: unused variable: `rate`\x1b[0m\n  \x1b[1m\x1b[34m-->\x1b[0m crates/webhooks/src/lib.rs:41:9\n";
    text += "\x1b[1m\x1b[32m     Running\x1b[0m tests/settle.rs\n\nrunning 214 tests\n";
    for n in 1..90 {
        text += &format!("test refunds::case_{n:02} ... \x1b[32mok\x1b[0m\n");
    }
    text += "test webhooks::settled_refund_is_announced ... \x1b[31mFAILED\x1b[0m\n\nfailures:\n\n---- webhooks::settled_refund_is_announced stdout ----\nthread 'webhooks::settled_refund_is_announced' panicked at crates/webhooks/tests/settle.rs:88:5:\nassertion `left == right` failed: the announced amount is the settled one\n  left: \x1b[31m1200\x1b[0m\n right: \x1b[32m1250\x1b[0m\nnote: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n\n";
    text += &format!(
        "the whole request: {}\n",
        "{\"amount\": 1250, \"currency\": \"EUR\"}, ".repeat(12)
    );
    text += "See https://example.org/build/report.html for more.\n";
    for n in 1..30 {
        text += &format!("test zones::case_{n:02} ... \x1b[32mok\x1b[0m\n");
    }
    text += "test result: \x1b[31mFAILED\x1b[0m. 213 passed; 1 failed; 0 ignored\n\x1b[1m\x1b[31merror\x1b[0m: test failed, to rerun pass `-p webhooks --test settle`\n";
    let line = |needle: &str| text.lines().position(|l| l.contains(needle)).unwrap() + 1;
    let findings = json!({"first": 1, "findings": [
        {"line": line("unused variable"), "severity": "warning", "message": "unused variable: `rate`"},
        {"line": line("panicked at"), "severity": "error", "message": "assertion failed"},
        {"line": line("test failed, to rerun"), "severity": "error", "message": "test failed"},
    ]});
    (text, findings)
}

/// What must hold however the page is looked at.
async fn check(browser: &Browser, what: &str) {
    let wide = browser
        .eval("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        .await;
    assert!(
        wide.as_i64().unwrap() <= 0,
        "{what}: the page is {wide} pixels too wide"
    );
    let outside = browser
        .eval(
            "[...document.querySelectorAll('.bar *, .head *, .log .r > a')].filter((e) => { \
             const b = e.getBoundingClientRect(); \
             return b.width > 1 && b.height > 1 && !e.closest('.hidden') && (b.left < -1 || b.right > innerWidth + 1); \
             }).map((e) => e.outerHTML.slice(0, 80))",
        )
        .await;
    assert_eq!(outside, json!([]), "{what}");
    let seen = browser.seen().await;
    assert!(
        seen.len() >= 8,
        "{what}: only {} lines are seen",
        seen.len()
    );
    let high = browser
        .eval("document.getElementById('log').clientHeight")
        .await;
    assert!(
        high.as_u64().unwrap() >= 200,
        "{what}: the log is {high} pixels high"
    );
    // Rows do not lie on each other.
    let apart = browser
        .eval("[...document.querySelectorAll('#log .i')].every((e, i, all) => !i || e.offsetTop >= all[i - 1].offsetTop + all[i - 1].offsetHeight - 1)")
        .await;
    assert_eq!(apart, json!(true), "{what}: rows overlap");
    // WCAG 2.2, 1.4.3: text against its ground at least 4.5 to 1.
    let pale = browser.eval(CONTRAST).await;
    assert_eq!(pale, json!([]), "{what}: hard to read");
}

const CONTRAST: &str = "(() => {
  const parse = (c) => (c.match(/[\\d.]+/g) ?? []).map(Number);
  const light = ([r, g, b]) => [r, g, b].map((v) => v / 255).map((v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4).reduce((s, v, i) => s + v * [0.2126, 0.7152, 0.0722][i], 0);
  const ground = (e) => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.length === 3 || c[3] > 0.99) return c; } return [255, 255, 255]; };
  const out = [];
  for (const e of document.querySelectorAll('#log .x, #log .x span, #log a, .bar label, .bar button, .bar output, #span, h1, .state')) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!own || !e.getClientRects().length || getComputedStyle(e).opacity !== '1') continue;
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(ground(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) out.push([e.outerHTML.slice(0, 60), ratio.toFixed(2)]);
  }
  return out.slice(0, 5);
})()";

async fn look(setup: Setup, what: &str, picture: &str) {
    let (text, findings) = everyday();
    let fixture = failed(&text).await;
    let address = serve(&fixture.state, findings).await;
    let browser = Browser::open(&setup).await;
    browser
        .client
        .goto(&format!("http://{address}{STEP}"))
        .await
        .unwrap();
    browser
        .until(
            "the first error",
            "document.querySelector('#log .r.bad') !== null",
        )
        .await;
    check(&browser, what).await;
    browser.picture(picture).await;
    // Searching changes the bar; it must fit, too.
    browser.eval("document.getElementById('log').focus()").await;
    browser.keys("/").await;
    browser.keys("refund").await;
    browser
        .until("hits", "search.whole && search.count > 0")
        .await;
    check(&browser, &format!("{what}, searching")).await;
    if what == "light" {
        browser.picture("search.png").await;
    }
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn light() {
    look(Setup::default(), "light", "light.png").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dark() {
    let setup = Setup {
        dark: true,
        ..Setup::default()
    };
    look(setup, "dark", "dark.png").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn on_a_phone() {
    let setup = Setup {
        width: 500,
        height: 900,
        ..Setup::default()
    };
    look(setup, "phone", "phone.png").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn at_200_percent() {
    let setup = Setup {
        width: 1280,
        height: 1400,
        zoom: 2,
        ..Setup::default()
    };
    look(setup, "zoomed", "zoom.png").await;
}
