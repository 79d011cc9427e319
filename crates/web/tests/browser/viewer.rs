//! What the page does.

use std::time::{Duration, Instant};

use fantoccini::key::Key;
use serde_json::json;
use windlass_model::BuildState;
use windlass_shim::journal::StepResult;
use windlass_store::ForgeKind;

use crate::chromium::{Browser, Setup, serve};
use crate::fixture::{Fixture, Job, push};

pub(crate) const STEP: &str = "/repos/demo/builds/1/steps/1";

pub(crate) async fn running() -> (Fixture, Job) {
    let fixture = Fixture::new().await;
    let demo = fixture.repo("demo", ForgeKind::Git, None).await;
    let build = push(
        "main",
        "Retry settlement with back-off when the bank is away",
    );
    fixture.queue(&demo, build).await;
    let mut job = fixture.job(&["test", "deploy"]).await;
    job.start(0).await;
    (fixture, job)
}

/// A step that printed this and failed.
pub(crate) async fn failed(text: &str) -> Fixture {
    let (fixture, mut job) = running().await;
    for piece in text.as_bytes().chunks(60_000) {
        job.later(40);
        job.out(0, piece).await;
    }
    job.end(0, StepResult::Exited { code: 101 }, 48_300).await;
    job.end(1, StepResult::Skipped, 0).await;
    job.finish(BuildState::Failed, "step \"test\": exit code 101", Some(0))
        .await;
    fixture
}

pub(crate) async fn goto(browser: &Browser, address: std::net::SocketAddr, path: &str) {
    let url = format!("http://{address}{path}");
    browser.client.goto(&url).await.unwrap();
    browser
        .until(
            "the viewer has begun",
            "document.body.classList.contains('viewing')",
        )
        .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_scrolls_through_a_log_that_is_higher_than_an_element_can_be() {
    let lines: u64 = std::env::var("WINDLASS_TEST_LINES").map_or(1_000_000, |n| n.parse().unwrap());
    let (fixture, mut job) = running().await;
    let mut text = String::new();
    for n in 1..=lines {
        text.push_str(&format!("line {n} of many\n"));
        if text.len() > 60_000 {
            job.out(0, &text).await;
            text.clear();
        }
    }
    job.out(0, &text).await;
    job.end(0, StepResult::Exited { code: 0 }, 48_300).await;
    job.end(1, StepResult::Skipped, 0).await;
    job.finish(BuildState::Passed, "", None).await;
    let address = serve(&fixture.state, json!({"findings": []})).await;
    let browser = Browser::open(&Setup::default()).await;
    goto(&browser, address, STEP).await;

    // It opens at the end, and the end is seen whole.
    let seen = browser.seen().await;
    assert_eq!(seen.last().unwrap().0, lines);
    assert!(seen.len() > 15, "{} lines are seen", seen.len());
    let height = browser
        .eval("document.querySelector('.space').offsetHeight")
        .await;
    assert!(height.as_u64().unwrap() <= 8_000_000, "{height}");

    // The thumb to the middle, and to the beginning.
    let began = Instant::now();
    browser
        .eval("document.getElementById('log').scrollTop = document.getElementById('log').scrollHeight / 2")
        .await;
    let middle = format!(
        "Math.abs(view.top - {}) < {} && store.knows(view.top) && !document.querySelector('.r.wait')",
        lines / 2,
        lines / 50
    );
    browser.until("the middle is there", &middle).await;
    eprintln!("a jump to the middle took {:?}", began.elapsed());
    for (n, text) in browser.seen().await {
        assert_eq!(text, format!("line {n} of many"));
    }
    // Keys and wheel move by lines, however small the picture of the scroll bar is.
    let top = browser.eval("view.top").await.as_u64().unwrap();
    browser.eval("document.getElementById('log').focus()").await;
    browser.keys("jjj").await;
    browser
        .until("three lines down", &format!("view.top === {}", top + 3))
        .await;
    browser
        .eval("document.getElementById('log').dispatchEvent(new WheelEvent('wheel', {deltaY: 5 * view.lineHeight, bubbles: true, cancelable: true}))")
        .await;
    browser
        .until(
            "five lines on by the wheel",
            &format!("view.top === {}", top + 8),
        )
        .await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert_eq!(
        browser.eval("view.top").await,
        json!(top + 8),
        "it moved by itself"
    );
    browser
        .eval("document.getElementById('log').scrollTop = 0")
        .await;
    browser
        .until(
            "the beginning",
            "view.top === 1 && document.getElementById('L1') !== null",
        )
        .await;
    browser.key(Key::End).await;
    browser
        .until(
            "the end again",
            &format!("document.getElementById('L{lines}') !== null"),
        )
        .await;
    assert_eq!(browser.seen().await.last().unwrap().0, lines);
    // The log is sent as it is kept, compressed in many frames: the browser reads all of them.
    browser
        .eval("(fetch(log.dataset.raw).then((r) => r.text()).then((t) => { window.raw = t.length; }), 1)")
        .await;
    let bytes: u64 = (1..=lines)
        .map(|n| format!("line {n} of many\n").len() as u64)
        .sum();
    browser
        .until("the whole log", &format!("window.raw === {bytes}"))
        .await;
    // However far one went, little is kept.
    let nodes = browser
        .eval("document.querySelectorAll('#log *').length")
        .await;
    assert!(nodes.as_u64().unwrap() < 1_000, "{nodes} elements");
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_search_goes_through_the_whole_log_and_is_walked_with_keys() {
    let mut text = String::new();
    for n in 1..=30_000 {
        text.push_str(&match n {
            500 | 15_000 | 29_000 => format!("\x1b[31mneed\x1b[0mle <b> in {n}\n"),
            _ => format!("hay {n}\n"),
        });
    }
    let fixture = failed(&text).await;
    let address = serve(&fixture.state, json!({"findings": []})).await;
    let browser = Browser::open(&Setup::default()).await;
    goto(&browser, address, &format!("{STEP}#L10000")).await;
    browser
        .until(
            "line 10,000 is seen",
            "document.getElementById('L10000') !== null",
        )
        .await;
    browser.eval("document.getElementById('log').focus()").await;
    browser.keys("/").await;
    browser.keys("need(le|y) <b>").await;
    let at = |n: u64| {
        format!(
            "search.now === {n} && document.querySelector('#L{n}')?.parentNode.querySelector('mark.now') !== null"
        )
    };
    browser.until("the next hit", &at(15_000)).await;
    browser
        .until(
            "how many",
            "document.getElementById('found').textContent === '2 of 3 lines'",
        )
        .await;
    let marked = browser
        .eval("[...document.querySelectorAll('mark.now')].map((m) => m.textContent).join('')")
        .await;
    assert_eq!(marked, json!("needle <b>"));
    browser.key(Key::Escape).await;
    browser.keys("n").await;
    browser.until("the last", &at(29_000)).await;
    browser.keys("n").await;
    browser.until("round to the first", &at(500)).await;
    browser.keys("p").await;
    browser.until("and back", &at(29_000)).await;
    // Only the hits, with what is around them.
    browser.keys("x").await;
    browser
        .until(
            "fifteen lines",
            "view.filter?.length === 15 && !view.queued",
        )
        .await;
    let seen: Vec<u64> = browser.seen().await.into_iter().map(|(n, _)| n).collect();
    assert_eq!(seen[..6], [498, 499, 500, 501, 502, 14_998], "{seen:?}");
    browser.picture("filter.png").await;
    browser.key(Key::Escape).await;
    browser.until("all lines", "view.filter === null").await;
    // The address brings it back.
    let url = browser.eval("location.href").await;
    assert!(url.as_str().unwrap().contains("q=need"), "{url}");
    // A pattern that is none is explained.
    browser.keys("/").await;
    browser
        .eval("document.getElementById('q').value = ''")
        .await;
    browser.keys("need(").await;
    browser
        .until(
            "words",
            "document.getElementById('found').textContent.includes('unclosed group')",
        )
        .await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn links_lead_to_lines_and_ranges_and_lines_are_copied() {
    let text: String = (1..=3_000)
        .map(|n| format!("\x1b[32mline\x1b[0m {n} `x`\n"))
        .collect();
    let fixture = failed(&text).await;
    let address = serve(&fixture.state, json!({"findings": []})).await;
    let browser = Browser::open(&Setup::default()).await;
    goto(&browser, address, &format!("{STEP}#L700-L702")).await;
    let picked = "[...document.querySelectorAll('.r.hit > a')].map((a) => a.textContent).join() === '700,701,702'";
    browser.until("the range is marked", picked).await;
    assert!(browser.seen().await.iter().any(|(n, _)| *n == 700));
    // A click, and a click with shift.
    browser.click("#L699").await;
    browser.until("one line", "location.hash === '#L699'").await;
    browser
        .eval("document.getElementById('L704').dispatchEvent(new MouseEvent('click', {shiftKey: true, bubbles: true, cancelable: true}))")
        .await;
    browser
        .until(
            "six lines",
            "location.hash === '#L699-L704' && document.querySelectorAll('.r.hit').length === 6",
        )
        .await;
    // What would be in the clipboard.
    browser
        .eval("(navigator.clipboard.writeText = (text) => { window.taken = text; return Promise.resolve(); }, 1)")
        .await;
    browser.eval("document.getElementById('log').focus()").await;
    browser.keys("c").await;
    browser.until("as text", "window.taken?.startsWith('line 699 `x`\\nline 700') && window.taken.endsWith('line 704 `x`\\n')").await;
    browser.keys("m").await;
    browser
        .until("as Markdown", "window.taken.startsWith('```\\nline 699') && window.taken.includes('lines 699–704](http')")
        .await;
    browser.keys("l").await;
    browser
        .until(
            "as a link",
            "window.taken.includes('lines=699-704#L699-L704')",
        )
        .await;
    // The link works without a script, too: the server marks the lines.
    let link = browser.eval("window.taken").await;
    let page = fixture_page(&fixture, link.as_str().unwrap()).await;
    assert_eq!(page.matches("<div class=\"r hit\">").count(), 6);
    browser.client.goto(link.as_str().unwrap()).await.unwrap();
    browser
        .until(
            "it is the same place",
            "document.querySelectorAll('.r.hit').length === 6",
        )
        .await;
    // `:` asks for a line.
    browser.eval("document.getElementById('log').focus()").await;
    browser.keys(":").await;
    browser.keys("2500\u{e007}").await;
    browser
        .until(
            "line 2500",
            "location.hash === '#L2500' && document.getElementById('L2500') !== null",
        )
        .await;
    browser.close().await;
}

async fn fixture_page(fixture: &Fixture, url: &str) -> String {
    use http_body_util::BodyExt as _;
    use tower::ServiceExt as _;

    let path = url.split_once("://").unwrap().1;
    let path = &path[path.find('/').unwrap()..path.find('#').unwrap()];
    let request = axum::http::Request::get(path)
        .header("host", "localhost")
        .body(axum::body::Body::empty())
        .unwrap();
    let router = windlass_web::router(fixture.state.clone());
    let body = router.oneshot(request).await.unwrap().into_body();
    String::from_utf8(body.collect().await.unwrap().to_bytes().to_vec()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn it_follows_until_one_scrolls_up_and_progress_is_drawn_in_place() {
    let (fixture, mut job) = running().await;
    for n in 1..=1_200 {
        job.out(0, format!("line {n}\n")).await;
    }
    let address = serve(&fixture.state, json!({"findings": []})).await;
    let browser = Browser::open(&Setup::default()).await;
    goto(&browser, address, STEP).await;
    let at_end = |n: u64| {
        format!(
            "[...document.querySelectorAll('#log .r')].at(-1).firstChild.textContent === '{n}' && isAtEnd()"
        )
    };
    browser.until("it is at the end", &at_end(1_200)).await;
    for n in 1_201..=1_300 {
        job.out(0, format!("line {n}\n")).await;
    }
    browser.until("it has followed", &at_end(1_300)).await;
    browser
        .until(
            "the button says so",
            "document.getElementById('follow').ariaPressed === 'true'",
        )
        .await;
    // Up: it stays there, whatever comes.
    browser.eval("document.getElementById('log').focus()").await;
    browser.key(Key::PageUp).await;
    browser
        .until(
            "it follows no more",
            "document.getElementById('follow').ariaPressed === 'false'",
        )
        .await;
    let top = browser.eval("view.top").await;
    for n in 1_301..=1_900 {
        job.out(0, format!("line {n}\n")).await;
    }
    browser
        .until("it knows of more", "store.total === 1900")
        .await;
    assert_eq!(browser.eval("view.top").await, top);
    browser.keys("G").await;
    browser.until("at the end again", &at_end(1_900)).await;

    // Three lines of progress, drawn over and over, are three lines.
    job.out(0, "[+] Running 0/2\n db  pulling\n web pulling\n")
        .await;
    for n in 1..=40 {
        job.out(
            0,
            format!(
                "\x1b[3A[+] Running {}/2\n db  \x1b[34m{n} %\x1b[0m\x1b[K\n web {n} %\x1b[K\n",
                n / 20
            ),
        )
        .await;
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    job.out(0, "all is up\n").await;
    browser
        .until(
            "the last line",
            "document.getElementById('log').innerText.includes('all is up')",
        )
        .await;
    let shown = browser.seen().await;
    let tail: Vec<&str> = shown
        .iter()
        .rev()
        .take(5)
        .rev()
        .map(|(_, text)| text.as_str())
        .collect();
    assert_eq!(
        tail,
        [
            "line 1900",
            "[+] Running 2/2",
            " db  40 %",
            " web 40 %",
            "all is up"
        ]
    );
    assert!(
        browser
            .eval("document.getElementById('log').innerText.includes('120 lines were drawn over')")
            .await
            == json!(true)
    );
    browser.picture("progress.png").await;
    // Nothing is lost: every line as it was printed.
    browser.keys("u").await;
    browser
        .until(
            "all of them",
            "document.getElementById('log').innerText.includes('db  39 %')",
        )
        .await;
    browser.keys("u").await;

    job.out(0, "the end\n").await;
    job.end(0, StepResult::Exited { code: 3 }, 1_000).await;
    job.end(1, StepResult::Skipped, 0).await;
    job.finish(BuildState::Failed, "step \"test\": exit code 3", Some(0))
        .await;
    browser
        .until("the end is told", "document.getElementById('state').textContent.includes('exit code 3') && !document.getElementById('failure').hidden")
        .await;
    browser.close().await;
}

pub(crate) const GROUPED: &str = "\
::group::Install dependencies\nfetch a\nfetch b\n::endgroup::\n\
section_start:1560896352:build[collapsed=true]\r\x1b[0KBuild\ncompile a\ncompile b\nsection_end:1560896353:build\r\x1b[0K\n\
::group::Run tests\ntest one ... ok\ntest two ... \x1b[31mFAILED\x1b[0m\nerror: two is wrong\n::endgroup::\n\
done\n";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn groups_are_folded_but_not_the_one_that_failed() {
    let fixture = failed(GROUPED).await;
    let findings =
        json!({"findings": [{"line": 12, "severity": "error", "message": "two is wrong"}]});
    let address = serve(&fixture.state, findings).await;
    let browser = Browser::open(&Setup::default()).await;
    goto(&browser, address, STEP).await;
    let shown = |lines: &str| {
        format!(
            "[...document.querySelectorAll('#log .r > a')].map((a) => a.textContent).join() === '{lines}'"
        )
    };
    browser
        .until("two of three are closed", &shown("1,5,9,10,11,12,13,14"))
        .await;
    browser
        .until(
            "the error is marked",
            "document.querySelector('.r.bad #L12') !== null",
        )
        .await;
    browser
        .until(
            "how many",
            "document.getElementById('problems').innerText.includes('1 error')",
        )
        .await;
    let heads = browser.eval("[...document.querySelectorAll('.fold')].map((f) => f.firstChild.textContent + f.ariaExpanded).join()").await;
    assert_eq!(
        heads,
        json!("Install dependenciesfalse,Buildfalse,Run teststrue")
    );
    browser
        .until(
            "its end is quiet",
            "document.querySelector('.r.dim #L13') !== null",
        )
        .await;
    browser.picture("groups.png").await;
    browser.click(".fold").await;
    browser
        .until("the first is open", &shown("1,2,3,4,5,9,10,11,12,13,14"))
        .await;
    browser.key(Key::Enter).await;
    browser
        .until("closed with the keyboard", &shown("1,5,9,10,11,12,13,14"))
        .await;
    browser.eval("document.getElementById('log').focus()").await;
    browser.keys("O").await;
    browser
        .until("all open", &shown("1,2,3,4,5,6,7,8,9,10,11,12,13,14"))
        .await;
    browser.keys("O").await;
    browser.until("all closed", &shown("1,5,9,14")).await;
    // Whoever is led to a hidden line sees it.
    browser.eval("location.hash = '#L7'").await;
    browser
        .until(
            "its group opens",
            "document.querySelector('.r.hit #L7') !== null",
        )
        .await;
    browser.keys("e").await;
    browser
        .until(
            "so does that of an error",
            "document.querySelector('.r.bad #L12') !== null",
        )
        .await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trace_folds_by_command_and_says_how_long_each_took() {
    let (fixture, mut job) = running().await;
    for (text, ms) in [
        ("+ cargo fetch\n", 1_250),
        ("fetch a\nfetch b\n", 2_750),
        ("+ sleep 3\n", 3_000),
        ("+ cargo test\n", 40),
        ("test one ... ok\n++ id -u\nall is well\n", 500),
    ] {
        job.out(0, text).await;
        job.later(ms);
    }
    job.end(0, StepResult::Exited { code: 0 }, 7_540).await;
    job.end(1, StepResult::Skipped, 0).await;
    job.finish(BuildState::Passed, "", None).await;
    let address = serve(&fixture.state, json!({"findings": []})).await;
    let browser = Browser::open(&Setup::default()).await;
    goto(&browser, address, STEP).await;
    browser
        .until(
            "two commands with output, open",
            "[...document.querySelectorAll('.fold')].map((f) => f.innerText + ' ' + f.ariaExpanded).join('|') \
             === '+ cargo fetch 2 lines, 4.000 true|+ cargo test 3 lines, 0.540 true'",
        )
        .await;
    // One that printed nothing says how long it took.
    browser
        .until(
            "the silent one",
            "document.querySelector('#L4').parentNode.innerText.includes('+ sleep 3 3.000')",
        )
        .await;
    browser.click(".fold").await;
    browser
        .until(
            "the first is closed",
            "[...document.querySelectorAll('#log .r > a')].map((a) => a.textContent).join() === '1,4,5,6,7,8'",
        )
        .await;
    browser.picture("commands.png").await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_failed_step_opens_at_its_first_error_and_needs_no_mouse() {
    let mut text: String = (1..=5_000)
        .map(|n| format!("test case_{n} ... ok\n"))
        .collect();
    text.insert_str(
        text.find("test case_2000 ").unwrap(),
        "error: the first of two\n",
    );
    text.insert_str(text.find("test case_4000 ").unwrap(), "error: the second\n");
    let fixture = failed(&text).await;
    let findings = json!({"first": 1, "findings": [
        {"line": 4_001, "severity": "error", "message": "the second"},
        {"line": 2_000, "severity": "error", "message": "the first of two"},
        {"line": 100, "severity": "warning", "message": "odd"},
    ]});
    let address = serve(&fixture.state, findings).await;
    let browser = Browser::open(&Setup::default()).await;
    goto(&browser, address, STEP).await;
    browser
        .until(
            "the first error is seen",
            "document.querySelector('.r.bad #L2000') !== null && !document.querySelector('.r.wait')",
        )
        .await;
    assert!(
        browser
            .seen()
            .await
            .iter()
            .any(|(n, text)| *n == 2_000 && text.contains("the first of two"))
    );
    browser
        .until(
            "it is said",
            "document.getElementById('said').textContent.includes('First error, line 2000')",
        )
        .await;
    // The map has a mark: some pixel of the error's colour at its place.
    browser
        .until("the map", "(() => { const m = document.getElementById('map'); const from = Math.round(m.height * 1999 / 5002) - 3; const d = m.getContext('2d').getImageData(2, from, 1, 7).data; return d.some((v, i) => i % 4 === 0 && v > d[i + 2] + 60 && d[i + 3] > 200); })()")
        .await;
    // From the page's top with the tabulator to the log, and on with keys alone.
    for _ in 0..60 {
        browser.key(Key::Tab).await;
        if browser.eval("document.activeElement.id").await == json!("log") {
            break;
        }
    }
    assert_eq!(
        browser.eval("document.activeElement.id").await,
        json!("log"),
        "the log is not reached"
    );
    browser.keys("n").await;
    browser.until("the next", "document.querySelector('.r.bad #L4001') !== null && document.getElementById('said').textContent.startsWith('Error, line 4001')").await;
    browser.keys("E").await;
    browser
        .until(
            "the one before",
            "document.getElementById('said').textContent.startsWith('Error, line 2000')",
        )
        .await;
    browser.keys("g").await;
    browser.until("the beginning", "view.top === 1").await;
    browser.key(Key::Down).await;
    browser.until("a line down", "view.top === 2").await;
    browser.keys(" ").await;
    browser.until("a screen down", "view.top > 12").await;
    browser.keys("?").await;
    browser
        .until(
            "the keys are shown",
            "document.getElementById('keys-dialog').open",
        )
        .await;
    browser.picture("keys.png").await;
    browser.key(Key::Escape).await;
    browser
        .until("and gone", "!document.getElementById('keys-dialog').open")
        .await;
    browser.keys("t").await;
    browser
        .until(
            "clock",
            "/^\\d\\d:\\d\\d:\\d\\d$/.test(document.querySelector('#log .t').textContent)",
        )
        .await;
    browser.keys("t").await;
    browser
        .until(
            "delta",
            "[...document.querySelectorAll('#log .t')].some((t) => t.textContent === '+0.000')",
        )
        .await;
    browser.keys("t").await;
    browser
        .until(
            "none",
            "getComputedStyle(document.querySelector('#log .t')).display === 'none'",
        )
        .await;
    browser.keys("w").await;
    browser
        .until(
            "no wrapping",
            "getComputedStyle(document.querySelector('#log .x')).whiteSpace === 'pre'",
        )
        .await;
    browser.keys("z").await;
    browser
        .until("full width", "document.body.classList.contains('wide')")
        .await;
    browser.close().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lines_of_any_length_are_shown_and_reached() {
    let mut text = String::new();
    for n in 1..=600 {
        text.push_str(&format!("{n} {}\n", "x".repeat(20_000)));
    }
    text.push_str("the end\n");
    let fixture = failed(&text).await;
    let address = serve(&fixture.state, json!({"findings": []})).await;
    let browser = Browser::open(&Setup::default()).await;
    goto(&browser, address, STEP).await;
    browser
        .until(
            "the end",
            "document.getElementById('L601') !== null && isAtEnd()",
        )
        .await;
    browser.eval("document.getElementById('log').focus()").await;
    // A window of the server's holds some 130 of them: the others are asked for, too.
    for n in [1, 250, 499] {
        browser.eval(&format!("location.hash = '#L{n}'")).await;
        let there = format!(
            "document.querySelector('.r.hit #L{n}')?.parentNode.querySelector('.x').textContent.startsWith('{n} xxx') ?? false"
        );
        browser.until("a long line", &there).await;
        browser
            .until("its rest is behind a link", &format!("document.querySelector('#L{n}').parentNode.querySelector('.cut').href.includes('lines={n}-{n}')"))
            .await;
    }
    // Not wrapped, a line is a line, and the page is not wider for it.
    browser.keys("w").await;
    browser
        .until("one row each", "(() => { const r = [...document.querySelectorAll('#log .r')]; return r.length > 5 && r.every((e) => e.offsetHeight < 3 * view.lineHeight); })()")
        .await;
    let wide = browser
        .eval("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
        .await;
    assert_eq!(wide, json!(true));
    browser.close().await;
}
