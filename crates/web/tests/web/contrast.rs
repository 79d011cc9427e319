//! Every colour of the log can be read on every ground that it may stand on, in light and dark:
//! computed from the stylesheet that is served (WCAG 2.2, 1.4.3 and 1.4.11).

use std::collections::BTreeMap;

type Rgb = [f64; 3];

/// The stylesheet, and the colours of its two themes by the names of their variables.
fn themes() -> (String, [BTreeMap<String, Rgb>; 2]) {
    let css = include_str!("../../assets/windlass.css").to_owned() + &windlass_logs::palette_css();
    let mut roots = css.split(":root {").skip(1).map(|rest| {
        let (block, _) = rest.split_once('}').unwrap();
        block
            .split(';')
            .filter_map(|rule| rule.trim().strip_prefix("--")?.split_once(": #"))
            .map(|(name, hex)| (name.to_owned(), rgb(hex)))
            .collect::<BTreeMap<_, _>>()
    });
    let light = roots.next().expect("the colours of the light theme");
    let changed = roots.next().expect("the colours of the dark theme");
    assert!(roots.next().is_none(), "a third theme is not tested");
    let mut dark = light.clone();
    dark.extend(changed);
    (css, [light, dark])
}

fn rgb(hex: &str) -> Rgb {
    let digit = |n: usize| f64::from(u8::from_str_radix(&hex[n..=n], 16).unwrap());
    match hex.len() {
        3 => [0, 1, 2].map(|n| digit(n) * 17.0),
        // Eight digits end with how opaque it is.
        6 | 8 => [0, 2, 4].map(|n| digit(n) * 16.0 + digit(n + 1)),
        _ => panic!("#{hex} is no colour"),
    }
}

fn luminance(colour: Rgb) -> f64 {
    let [r, g, b] = colour.map(|value| {
        let value = value / 255.0;
        if value <= 0.04045 {
            value / 12.92
        } else {
            ((value + 0.055) / 1.055_f64).powf(2.4)
        }
    });
    0.2126 * r + 0.7152 * g + 0.0722 * b
}

fn contrast(a: Rgb, b: Rgb) -> f64 {
    let (a, b) = (luminance(a) + 0.05, luminance(b) + 0.05);
    (a / b).max(b / a)
}

/// Grounds of rows: usual, under the pointer or the current hit, an error, pointed at or found.
const GROUNDS: [&str; 4] = ["log-bg", "hover", "bad-bg", "mark"];

#[test]
fn text_of_the_log_can_be_read_on_every_ground() {
    let (css, themes) = themes();
    // Whatever is made paler has another contrast than its colours say.
    assert!(!css.contains("opacity"), "this test knows no opacity");
    let mut pale = Vec::new();
    for (theme, name) in themes.iter().zip(["light", "dark"]) {
        let mut check = |text: &str, ground: &str, least: f64| {
            let ratio = contrast(theme[text], theme[ground]);
            if ratio < least {
                pale.push(format!("{name}: {text} on {ground}: {ratio:.2} of {least}"));
            }
        };
        let own = (0..16).map(|n| format!("a{n}"));
        let others = ["log-ink", "log-gutter", "quiet", "link"].map(str::to_owned);
        for text in own.clone().chain(others) {
            for ground in GROUNDS {
                check(&text, ground, 4.5);
            }
        }
        // Coloured grounds and inverse text.
        for ground in own.chain(["log-ink".to_owned()]) {
            check("log-bg", &ground, 4.5);
        }
        // The current hit, notes of lost output, how many errors, a wrong pattern.
        check("log-bg", "map-hit", 4.5);
        check("error", "warn-bg", 4.5);
        check("failed", "bg", 4.5);
        check("failed", "card", 4.5);
        // Marks of findings at the edge of a row and on the map: no text.
        for mark in ["failed", "error", "link", "map-hit"] {
            check(mark, "log-bg", 3.0);
            check(mark, "bg", 3.0);
        }
        check("focus", "bg", 3.0);
        check("focus", "log-bg", 3.0);
    }
    assert_eq!(pale, Vec::<String>::new());
}

#[test]
fn the_terminal_s_256_colours_can_be_read_on_every_ground() {
    let (css, themes) = themes();
    let mut seen = 0;
    let mut pale = Vec::new();
    for rule in css.lines() {
        if let Some((name, colours)) = rule.split_once("{color:light-dark(#") {
            let (light, dark) = colours.trim_end_matches(")}").split_once(",#").unwrap();
            for (theme, colour) in themes.iter().zip([light, dark]) {
                for ground in GROUNDS {
                    let ratio = contrast(rgb(colour), theme[ground]);
                    if ratio < 4.5 {
                        pale.push(format!("{name} #{colour} on {ground}: {ratio:.2}"));
                    }
                }
            }
            seen += 1;
        } else if let Some((name, colours)) = rule.split_once("{background-color:#") {
            let (ground, text) = colours
                .trim_end_matches('}')
                .split_once(";color:#")
                .unwrap();
            let ratio = contrast(rgb(ground), rgb(text));
            if ratio < 4.5 {
                pale.push(format!("{name}: {ratio:.2}"));
            }
            seen += 1;
        }
    }
    assert_eq!(seen, 512, "the palette's rules look otherwise");
    assert_eq!(pale, Vec::<String>::new());
}
