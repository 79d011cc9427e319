//! Who uses the pages otherwise than with eyes and a mouse: screen readers (by what Chromium tells
//! them), keys alone, fingers.

use std::collections::BTreeMap;

use fantoccini::key::Key;
use fantoccini::{Locator, elements::Element};
use serde_json::{Value, json};
use windlass_model::BuildState;
use windlass_shim::journal::StepResult;

use crate::chromium::{Browser, Setup, serve};
use crate::fixture::Fixture;
use crate::looks::everyday;
use crate::viewer::{STEP, failed, goto, running};

/// What a screen reader is told of one element.
#[derive(Debug)]
struct Told {
    role: String,
    name: String,
    properties: BTreeMap<String, Value>,
}

async fn told(browser: &Browser) -> Vec<Told> {
    browser.cdp("Accessibility.enable", json!({})).await;
    let tree = browser.cdp("Accessibility.getFullAXTree", json!({})).await;
    let text = |value: &Value| value["value"].as_str().unwrap_or_default().to_owned();
    let nodes = tree["nodes"].as_array().unwrap().iter();
    let told: Vec<Told> = nodes
        .filter(|node| node["ignored"] != true)
        .map(|node| Told {
            role: text(&node["role"]),
            name: text(&node["name"]),
            properties: node["properties"]
                .as_array()
                .into_iter()
                .flatten()
                .map(|p| {
                    (
                        p["name"].as_str().unwrap().to_owned(),
                        p["value"]["value"].clone(),
                    )
                })
                .collect(),
        })
        .collect();
    assert!(told.len() > 20, "the page says nearly nothing: {told:?}");
    told
}

/// What holds for every page.
fn check_sense(page: &str, told: &[Told]) {
    let with = |role: &str| -> Vec<&Told> { told.iter().filter(|t| t.role == role).collect() };
    for one in told {
        let is_control = [
            "button",
            "link",
            "checkbox",
            "searchbox",
            "textbox",
            "combobox",
            "spinbutton",
            "DisclosureTriangle",
            "navigation",
            "dialog",
            "log",
            "region",
            "table",
        ];
        assert!(
            !is_control.contains(&one.role.as_str()) || !one.name.trim().is_empty(),
            "{page}: {one:?} has no name"
        );
        let focusable = one.properties.get("focusable") == Some(&json!(true));
        assert!(
            !(focusable && one.role == "generic"),
            "{page}: {one:?} takes the focus and says not what it is"
        );
    }
    for landmark in ["banner", "main"] {
        assert_eq!(with(landmark).len(), 1, "{page}: {landmark}");
    }
    assert!(!with("navigation").is_empty(), "{page}");
    // Headings make an outline: one at the top, none left out.
    let levels: Vec<u64> = with("heading")
        .iter()
        .map(|h| h.properties["level"].as_u64().unwrap())
        .collect();
    assert_eq!(levels.first(), Some(&1), "{page}: {levels:?}");
    assert_eq!(
        levels.iter().filter(|l| **l == 1).count(),
        1,
        "{page}: {levels:?}"
    );
    assert!(
        levels.windows(2).all(|two| two[1] <= two[0] + 1),
        "{page}: {levels:?}"
    );
}

/// The everyday failure, with test results.
async fn results() -> (Fixture, std::net::SocketAddr) {
    let (text, findings) = everyday();
    let fixture = failed(&text).await;
    fixture.artifact(1, 1, "site", &[("page.html", "x")]).await;
    let address = serve(&fixture.state, findings).await;
    (fixture, address)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn screen_readers_are_told_what_everything_is_and_what_happens() {
    let (_fixture, address) = results().await;
    let browser = Browser::open(&Setup::default()).await;
    for page in ["/repos/demo/builds/1", "/search", "/repos/demo", "/"] {
        let url = format!("http://{address}{page}");
        browser.client.goto(&url).await.unwrap();
        check_sense(page, &told(&browser).await);
    }
    goto(&browser, address, STEP).await;
    browser
        .until(
            "the error",
            "document.querySelector('#log .r.bad') !== null",
        )
        .await;
    let all = told(&browser).await;
    check_sense("the log", &all);
    let log = all.iter().find(|t| t.role == "log").expect("a log");
    assert_eq!(log.name, "Output of test");
    // A log that is read line by line is not spoken while it grows.
    assert_ne!(
        log.properties.get("live"),
        Some(&json!("polite")),
        "{log:?}"
    );
    for (role, name) in [
        (
            "searchbox",
            "Search in this log: text or regular expression",
        ),
        ("button", "Previous error"),
        ("button", "Next error"),
        ("link", "line 200"),
        ("navigation", "Where you are"),
        ("navigation", "Steps"),
    ] {
        assert!(
            all.iter().any(|t| t.role == role && t.name == name),
            "no {role} {name}: {all:?}"
        );
    }
    // An error is told by a word, not by its colour alone.
    let row = browser
        .eval("document.querySelector('#log .r.bad .x').textContent")
        .await;
    assert!(row.as_str().unwrap().starts_with("error: thread"), "{row}");
    // What happens is told once, by the one region that is live.
    let live = browser
        .eval("[...document.querySelectorAll('[aria-live=polite], [role=status]:not([aria-live]), output:not([aria-live])')].map((e) => e.id).join()")
        .await;
    assert_eq!(live, json!("state,,,said"), "other regions speak, too");
    browser.eval("document.getElementById('log').focus()").await;
    browser.keys("/").await;
    browser.keys("refund").await;
    let says = |words: &str| {
        format!(
            "document.getElementById('said').textContent.includes({})",
            json!(words)
        )
    };
    browser
        .until("how many match", &says("92 lines match"))
        .await;
    browser.key(Key::Escape).await;
    browser.keys("n").await;
    browser.until("the hit and its text", &says("line ")).await;
    browser.keys("O").await;
    browser.until("groups", &says("Groups ")).await;
    browser.keys("w").await;
    let all = told(&browser).await;
    let wrap = all.iter().find(|t| t.name == "wrap").unwrap();
    assert_eq!(wrap.properties["pressed"], json!("false"), "{wrap:?}");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn following_is_told() {
    let (fixture, mut job) = running().await;
    for n in 1..=300 {
        job.out(0, format!("line {n}\n")).await;
    }
    let address = serve(&fixture.state, json!({"findings": []})).await;
    let browser = Browser::open(&Setup::default()).await;
    goto(&browser, address, STEP).await;
    browser
        .until("it follows", "view.following && isAtEnd()")
        .await;
    browser.eval("document.getElementById('log').focus()").await;
    browser.key(Key::PageUp).await;
    let says = |words: &str| format!("document.getElementById('said').textContent === '{words}'");
    browser.until("it stays", &says("Not following")).await;
    browser.keys("f").await;
    browser
        .until("it goes on", &says("Following the end"))
        .await;
    job.end(0, StepResult::Exited { code: 0 }, 1).await;
    job.end(1, StepResult::Skipped, 0).await;
    job.finish(BuildState::Passed, "", None).await;
    browser
        .until(
            "the end is told",
            "document.getElementById('state').textContent.includes('passed')",
        )
        .await;
    browser.close().await;
}

/// What has the focus: a name for it, and whether one sees where it is.
const FOCUS: &str = "(() => {
  const e = document.activeElement;
  const box = e.getBoundingClientRect();
  const style = getComputedStyle(e);
  const seen = style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2
    && box.bottom > 0 && box.top < innerHeight && box.right > 0 && box.left < innerWidth;
  return [e.id || e.dataset.act || e.textContent.trim().slice(0, 30), seen, e.matches('#log *')];
})()";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_alone_go_through_the_whole_page_in_its_order() {
    let (_fixture, address) = results().await;
    let browser = Browser::open(&Setup::default()).await;
    goto(&browser, address, STEP).await;
    browser
        .until(
            "the error",
            "document.querySelector('#log .r.bad') !== null",
        )
        .await;
    let mut order = Vec::new();
    for _ in 0..60 {
        browser.key(Key::Tab).await;
        let focus = browser.eval(FOCUS).await;
        let name = focus[0].as_str().unwrap().to_owned();
        // Behind the last one the browser's own controls follow: that is the page's body.
        if browser
            .eval("document.activeElement === document.body")
            .await
            == json!(true)
        {
            break;
        }
        assert_eq!(focus[1], json!(true), "{name}: the focus is not seen");
        order.push(name);
    }
    let place = |name: &str| {
        let at = order.iter().position(|one| one == name);
        at.unwrap_or_else(|| panic!("{name} is not reached: {order:?}"))
    };
    let expected = [
        "Skip to the content",
        "Builds",
        "Search",
        "Log in",
        "demo",
        "q",
        "case",
        "literal",
        "problem-previous",
        "problem-next",
        "foldall",
        "times",
        "wrap",
        "wide",
        "keys",
        "log",
        "https://example.org/build/repo",
    ];
    let places: Vec<usize> = expected.iter().map(|name| place(name)).collect();
    assert!(places.is_sorted(), "{order:?}");
    // The log is no trap, however long it is.
    assert!(order.len() < 50, "the log keeps the focus: {order:?}");

    // Lines are pointed at without a mouse.
    browser.eval("document.getElementById('log').focus()").await;
    browser.keys(":").await;
    browser
        .until("a question", "document.activeElement.id === 'line'")
        .await;
    browser.keys("12-14\u{e007}").await;
    browser
        .until(
            "three lines",
            "document.querySelectorAll('#log .r.hit').length === 3 && location.hash === '#L12-L14'",
        )
        .await;
    assert_eq!(
        browser.eval("document.activeElement.id").await,
        json!("log")
    );
    // Left with Escape, it goes nowhere, and gives the focus back.
    browser.keys(":").await;
    browser.keys("99").await;
    browser.key(Key::Escape).await;
    browser
        .until("left", "!document.getElementById('line-dialog').open")
        .await;
    assert_eq!(browser.eval("location.hash").await, json!("#L12-L14"));
    assert_eq!(
        browser.eval("document.activeElement.id").await,
        json!("log")
    );
    browser.keys("?").await;
    browser
        .until("help", "document.getElementById('keys-dialog').open")
        .await;
    // Every key that does something is in the help.
    let missing = browser
        .eval("(() => { const words = [...document.querySelectorAll('.keys dt')].map((d) => d.textContent).join(' ') + ' Esc ↓ ↑ Space PgDn PgUp'; return Object.keys(keyActs).filter((k) => k.length === 1 && k !== ' ' && !words.includes(k)); })()")
        .await;
    assert_eq!(missing, json!([]));
    browser.key(Key::Escape).await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_test_leads_to_its_place_in_the_log() {
    let (_fixture, address) = results().await;
    let browser = Browser::open(&Setup::default()).await;
    browser
        .client
        .goto(&format!("http://{address}/repos/demo/builds/1"))
        .await
        .unwrap();
    let link = |text: &'static str| Locator::LinkText(text);
    let found: Element = browser.client.find(link("in the log")).await.unwrap();
    found.click().await.unwrap();
    // The fixture's report says: step 1, line 2. It lies in a group that is closed otherwise.
    browser
        .until(
            "the line is pointed at and seen",
            "location.hash === '#L2' && document.querySelector('#log .r.hit #L2') !== null && !document.querySelector('.r.wait')",
        )
        .await;
    let seen = browser.seen().await;
    let line = seen.iter().find(|(n, _)| *n == 2);
    assert!(
        line.is_some_and(|(_, text)| text.contains("crate-1 v0.1.1")),
        "{seen:?}"
    );
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn fingers_scroll_point_and_jump() {
    let mut text: String = (1..=3_000).map(|n| format!("line {n}\n")).collect();
    text.insert_str(0, "::group::Install\na\nb\n::endgroup::\n");
    let fixture = failed(&text).await;
    let findings = json!({"findings": [{"line": 1_500, "severity": "error", "message": "x"}]});
    let address = serve(&fixture.state, findings).await;
    let setup = Setup {
        width: 390,
        height: 844,
        touch: true,
        ..Setup::default()
    };
    let browser = Browser::open(&setup).await;
    goto(&browser, address, STEP).await;
    browser
        .until(
            "the error",
            "document.querySelector('#log .r.bad #L1500') !== null",
        )
        .await;
    assert_eq!(
        browser
            .eval("matchMedia('(pointer: coarse)').matches")
            .await,
        json!(true)
    );
    // A finger goes up by 300 pixels: the log follows it, exactly, and the page stays.
    let box_of = async |css: &str| -> (f64, f64, f64, f64) {
        let found = browser
            .eval(&format!("(() => {{ const b = document.querySelector({}).getBoundingClientRect(); return [b.left, b.top, b.width, b.height]; }})()", json!(css)))
            .await;
        serde_json::from_value(found).unwrap()
    };
    let (left, top, width, height) = box_of("#log").await;
    let (x, y) = (left + width / 2.0, top + height * 0.8);
    let place = "(view.top - 1) * view.lineHeight + view.offset";
    let before = browser.eval(place).await.as_f64().unwrap();
    let way: Vec<(f64, f64)> = (0..=30).map(|n| (x, y - 10.0 * f64::from(n))).collect();
    browser.finger(&way).await;
    browser
        .until("it scrolls", &format!("{place} > {before} + 200"))
        .await;
    tokio::time::sleep(std::time::Duration::from_millis(700)).await;
    let after = browser.eval(place).await.as_f64().unwrap();
    assert!(
        after - before < 420.0,
        "300 pixels became {}",
        after - before
    );
    assert_eq!(browser.eval("[scrollX, scrollY]").await, json!([0, 0]));
    let gaps = browser
        .eval("[...document.querySelectorAll('#log .i')].every((e, i, all) => !i || Math.abs(e.offsetTop - all[i - 1].offsetTop - all[i - 1].offsetHeight) < 1)")
        .await;
    assert_eq!(gaps, json!(true), "lines lie on each other");
    // A tap on a number points at its line; its tools are there.
    let n = browser.seen().await[5].0;
    let (left, top, width, height) = box_of(&format!("#L{n}")).await;
    browser
        .finger(&[(left + width / 2.0, top + height / 2.0)])
        .await;
    browser
        .until("the line", &format!("location.hash === '#L{n}' && document.querySelector('.r.hit #L{n}') !== null && !document.getElementById('picked').hidden"))
        .await;
    // All of it can be hit: 24 pixels each way, links within text apart.
    let small = browser
        .eval("[...document.querySelectorAll('a, button, input, summary, #map, label:has(input)')].filter((e) => { const b = e.getBoundingClientRect(); return b.width && b.height && !e.closest('.x, .hidden, .skip') && !e.matches('label > input, .hidden, .skip') && (b.width < 23.5 || b.height < 23.5); }).map((e) => [e.outerHTML.slice(0, 70), e.offsetWidth, e.offsetHeight])")
        .await;
    assert_eq!(small, json!([]), "too small for a finger");
    let wide = browser
        .eval("document.documentElement.scrollWidth - innerWidth")
        .await;
    assert!(wide.as_i64().unwrap() <= 0, "{wide} pixels too wide");
    browser.picture("touch.png").await;
    // The map: to the beginning, where a group opens by a tap.
    let (left, top, width, _) = box_of("#map").await;
    browser.finger(&[(left + width / 2.0, top + 1.0)]).await;
    browser.until("the beginning", "view.top === 1").await;
    browser
        .until(
            "a closed group",
            "document.querySelector('.fold')?.ariaExpanded === 'false'",
        )
        .await;
    let (left, top, _, height) = box_of(".fold").await;
    browser.finger(&[(left + 20.0, top + height / 2.0)]).await;
    browser
        .until("it opens", "document.querySelector('.fold').ariaExpanded === 'true' && document.getElementById('L3') !== null")
        .await;
    browser.close().await;
}

/// The pages around the log: nothing is wider than the window, and no control lies under another.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_other_pages_fit_on_phones_and_zoomed() {
    let (_fixture, address) = results().await;
    for (what, width, height, zoom, dark) in [
        ("build", 1_280, 1_000, 1, false),
        ("build-dark", 1_280, 1_000, 1, true),
        ("build-phone", 500, 900, 1, false),
        ("build-zoom", 1_280, 1_400, 2, false),
    ] {
        let setup = Setup {
            width,
            height,
            zoom,
            dark,
            touch: false,
        };
        let browser = Browser::open(&setup).await;
        for page in ["/repos/demo/builds/1", "/search", "/search?q=refund", STEP] {
            let url = format!("http://{address}{page}");
            browser.client.goto(&url).await.unwrap();
            let wide = browser
                .eval("document.documentElement.scrollWidth - document.documentElement.clientWidth")
                .await;
            assert!(
                wide.as_i64().unwrap() <= 0,
                "{what}, {page}: {wide} pixels too wide"
            );
            let covered = browser
                .eval("(() => { scrollTo(0, 0); return [...document.querySelectorAll('.top a, .top button, .crumbs a, .head a, .head button, .bar a, .bar button, .bar input')].filter((e) => { const [b] = e.getClientRects(); if (!b || b.width < 2 || e.closest('.hidden') || b.bottom > innerHeight) return false; const at = document.elementFromPoint(b.left + b.width / 2, b.top + b.height / 2); return !(at && (e.contains(at) || at.contains(e))); }).map((e) => e.outerHTML.slice(0, 80)); })()")
                .await;
            assert_eq!(covered, json!([]), "{what}, {page}");
            if page == "/repos/demo/builds/1"
                && matches!(what, "build" | "build-dark" | "build-phone")
            {
                browser.picture(&format!("{what}.png")).await;
            }
        }
        browser.close().await;
    }
}
