//! Style sheet, script and icons. Their URLs hold a hash of what is in them, so browsers keep them
//! for ever and still get the new ones after an upgrade.

use std::sync::LazyLock;

use axum::extract::Path;
use axum::http::header;
use axum::response::{IntoResponse, Redirect, Response};
use sha2::{Digest as _, Sha256};

use crate::error::WebError;
use crate::urls;

struct Asset {
    url: String,
    content_type: &'static str,
    contents: String,
}

struct Assets {
    css: Asset,
    js: Asset,
    log_js: Asset,
    icons: Vec<(&'static str, Asset)>,
}

/// State, colour and drawing of each icon. The colours are readable on light and dark tabs.
const ICONS: [(&str, &str, &str); 7] = [
    ("none", "#5b6b7f", "M10 9v14M10 16h12M22 9v14"),
    ("queued", "#6b7684", "M16 9v7l5 3"),
    ("running", "#2f6fd0", "M13 9.5v13l10-6.500z"),
    ("passed", "#1a7f43", "M9 16.500l5 5 9-11"),
    (
        "failed",
        "#c62f2f",
        "M10.500 10.500l11 11M21.500 10.500l-11 11",
    ),
    ("error", "#b45f06", "M16 8v10M16 22.500v1"),
    ("cancelled", "#6b7684", "M10.500 21.500l11-11"),
];

static ASSETS: LazyLock<Assets> = LazyLock::new(|| {
    let css = include_str!("../assets/windlass.css").to_owned() + &windlass_logs::palette_css();
    let js = include_str!("../assets/windlass.js").to_owned();
    let log_js = [
        include_str!("../assets/log/rows.js"),
        include_str!("../assets/log/find.js"),
        include_str!("../assets/log/viewer.js"),
        include_str!("../assets/log/keys.js"),
    ];
    let log_js = log_js.join("\n");
    Assets {
        css: Asset::new("windlass", "css", "text/css; charset=utf-8", css),
        js: Asset::new("windlass", "js", "text/javascript; charset=utf-8", js),
        log_js: Asset::new("log", "js", "text/javascript; charset=utf-8", log_js),
        icons: ICONS
            .iter()
            .map(|(state, colour, path)| {
                let svg = format!(
                    "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 32 32\">\
                     <circle cx=\"16\" cy=\"16\" r=\"15\" fill=\"{colour}\"/>\
                     <path d=\"{path}\" fill=\"none\" stroke=\"#fff\" stroke-width=\"3.500\" \
                     stroke-linecap=\"round\" stroke-linejoin=\"round\"/></svg>"
                );
                let stem = format!("icon-{state}");
                (*state, Asset::new(&stem, "svg", "image/svg+xml", svg))
            })
            .collect(),
    }
});

impl Asset {
    fn new(stem: &str, extension: &str, content_type: &'static str, contents: String) -> Self {
        let hash = hex::encode(Sha256::digest(contents.as_bytes()));
        Self {
            url: urls::asset(stem, &hash[..12], extension),
            content_type,
            contents,
        }
    }
}

/// The style sheet's URL.
pub(crate) fn css() -> &'static str {
    &ASSETS.css.url
}

/// The script's URL.
pub(crate) fn js() -> &'static str {
    &ASSETS.js.url
}

/// The URL of the log page's script.
pub(crate) fn log_js() -> &'static str {
    &ASSETS.log_js.url
}

/// The URL of the icon for a state; the plain one for other words.
pub(crate) fn icon(state: &str) -> &'static str {
    let icons = &ASSETS.icons;
    let found = icons.iter().find(|(name, _)| *name == state);
    &found.unwrap_or(&icons[0]).1.url
}

/// `GET /assets/{file}`
pub(crate) async fn asset(Path(file): Path<String>) -> Result<Response, WebError> {
    let url = format!("/assets/{file}");
    let icons = ASSETS.icons.iter().map(|(_, icon)| icon);
    let asset = [&ASSETS.css, &ASSETS.js, &ASSETS.log_js]
        .into_iter()
        .chain(icons)
        .find(|asset| asset.url == url)
        .ok_or_else(|| WebError::not_found("such file"))?;
    let headers = [
        (header::CONTENT_TYPE, asset.content_type),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    Ok((headers, asset.contents.as_str()).into_response())
}

/// `GET /favicon.ico`, which browsers ask for beside a raw log.
pub(crate) async fn favicon() -> Redirect {
    Redirect::to(icon("none"))
}
