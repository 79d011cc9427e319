//! How a character looks: SGR parameters -> a style -> class names; the palette's CSS.

use std::fmt::Write as _;

/// A colour in two bytes: 0 is the default, then the 16 of the theme, then the palette's 16..=255.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Colour(u16);

impl Colour {
    fn palette(number: u8) -> Self {
        Self(u16::from(number) + 1)
    }
}

const BOLD: u8 = 1;
const DIM: u8 = 2;
const ITALIC: u8 = 4;
const UNDERLINE: u8 = 8;
const INVERSE: u8 = 16;
const STRIKE: u8 = 32;
const NAMES: [(u8, &str); 6] = [
    (BOLD, "t-bold"),
    (DIM, "t-dim"),
    (ITALIC, "t-italic"),
    (UNDERLINE, "t-underline"),
    (INVERSE, "t-inverse"),
    (STRIKE, "t-strike"),
];

/// Colours and attributes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Style {
    text: Colour,
    background: Colour,
    attributes: u8,
}

impl Style {
    pub(crate) const PLAIN: Self = Self {
        text: Colour(0),
        background: Colour(0),
        attributes: 0,
    };

    /// Appends the class names, separated by spaces; nothing for the plain style.
    pub(crate) fn classes(self, out: &mut String) {
        let mut gap = "";
        for (colour, theme, palette) in [(self.text, "fg-", "c"), (self.background, "bg-", "b")] {
            let Some(number) = colour.0.checked_sub(1) else {
                continue;
            };
            out.push_str(gap);
            out.push_str(if number < 16 { theme } else { palette });
            // By hand: this is a large part of the work for logs full of colours.
            for (from, unit) in [(100, 100), (10, 10), (0, 1)] {
                if number >= from {
                    out.push(char::from(b'0' + (number / unit % 10) as u8));
                }
            }
            gap = " ";
        }
        for (bit, name) in NAMES {
            if self.attributes & bit != 0 {
                out.push_str(gap);
                out.push_str(name);
                gap = " ";
            }
        }
    }

    /// Takes over an SGR sequence. What it does not know (blinking, concealing) changes nothing:
    /// a log has no hidden text.
    pub(crate) fn apply<'a>(&mut self, params: impl Iterator<Item = &'a [u16]>) {
        let mut params = params;
        let mut any = false;
        while let Some(param) = params.next() {
            any = true;
            let code = param.first().copied().unwrap_or(0);
            match code {
                0 => *self = Self::PLAIN,
                1 => self.attributes |= BOLD,
                2 => self.attributes |= DIM,
                3 => self.attributes |= ITALIC,
                4 if param.get(1) == Some(&0) => self.attributes &= !UNDERLINE,
                4 | 21 => self.attributes |= UNDERLINE,
                7 => self.attributes |= INVERSE,
                9 => self.attributes |= STRIKE,
                22 => self.attributes &= !(BOLD | DIM),
                23 => self.attributes &= !ITALIC,
                24 => self.attributes &= !UNDERLINE,
                27 => self.attributes &= !INVERSE,
                29 => self.attributes &= !STRIKE,
                30..=37 => self.text = Colour::palette((code - 30) as u8),
                39 => self.text = Colour(0),
                40..=47 => self.background = Colour::palette((code - 40) as u8),
                49 => self.background = Colour(0),
                90..=97 => self.text = Colour::palette((code - 90 + 8) as u8),
                100..=107 => self.background = Colour::palette((code - 100 + 8) as u8),
                38 | 48 => {
                    let colour = if param.len() > 1 {
                        extended_with_colons(&param[1..])
                    } else {
                        extended(&mut params)
                    };
                    match (colour, code) {
                        (Some(colour), 38) => self.text = colour,
                        (Some(colour), _) => self.background = colour,
                        (None, _) => {}
                    }
                }
                _ => {}
            }
        }
        if !any {
            *self = Self::PLAIN;
        }
    }
}

/// `38:5:n`, `38:2:r:g:b`, `38:2:colour space:r:g:b`
fn extended_with_colons(rest: &[u16]) -> Option<Colour> {
    match rest {
        [5, n, ..] => Some(Colour::palette(u8::try_from(*n).ok()?)),
        [2, r, g, b] | [2, _, r, g, b, ..] => nearest(*r, *g, *b),
        _ => None,
    }
}

/// `38;5;n`, `38;2;r;g;b`
fn extended<'a>(params: &mut impl Iterator<Item = &'a [u16]>) -> Option<Colour> {
    let mut next = || params.next().and_then(|p| p.first().copied());
    match next()? {
        5 => Some(Colour::palette(u8::try_from(next()?).ok()?)),
        2 => nearest(next()?, next()?, next()?),
        _ => None,
    }
}

const LEVELS: [u8; 6] = [0, 95, 135, 175, 215, 255];

/// The palette's colour that is nearest to a true colour: in its cube or among its greys. (The
/// first 16 belong to the theme, so nobody knows what they are.)
fn nearest(r: u16, g: u16, b: u16) -> Option<Colour> {
    let wanted = [u8::try_from(r), u8::try_from(g), u8::try_from(b)];
    let wanted = match wanted {
        [Ok(r), Ok(g), Ok(b)] => [r, g, b],
        _ => return None,
    };
    let level = |value: u8| {
        let distance = |i: &usize| LEVELS[*i].abs_diff(value);
        (0..LEVELS.len()).min_by_key(distance).unwrap_or(0) as u8
    };
    let [r, g, b] = wanted.map(level);
    let cube = 16 + 36 * r + 6 * g + b;
    let mean = wanted.iter().map(|v| u16::from(*v)).sum::<u16>() / 3;
    let grey = 232 + (mean.saturating_sub(3) / 10).min(23) as u8;
    let distance = |number: u8| -> u32 {
        let found = rgb(number);
        (0..3)
            .map(|i| u32::from(found[i].abs_diff(wanted[i])).pow(2))
            .sum()
    };
    let best = if distance(grey) < distance(cube) {
        grey
    } else {
        cube
    };
    Some(Colour::palette(best))
}

/// xterm's palette.
fn rgb(number: u8) -> [u8; 3] {
    const FIRST: [[u8; 3]; 16] = [
        [0, 0, 0],
        [205, 0, 0],
        [0, 205, 0],
        [205, 205, 0],
        [0, 0, 238],
        [205, 0, 205],
        [0, 205, 205],
        [229, 229, 229],
        [127, 127, 127],
        [255, 0, 0],
        [0, 255, 0],
        [255, 255, 0],
        [92, 92, 255],
        [255, 0, 255],
        [0, 255, 255],
        [255, 255, 255],
    ];
    match number {
        0..=15 => FIRST[usize::from(number)],
        16..=231 => {
            let n = usize::from(number - 16);
            [LEVELS[n / 36], LEVELS[n / 6 % 6], LEVELS[n % 6]]
        }
        232..=255 => [8 + 10 * (number - 232); 3],
    }
}

/// The CSS of the classes `c0`..`c255` (text) and `b0`..`b255` (background), a rule per line.
/// The renderer uses them from 16 on; below, it says `fg-0`..`fg-15` and `bg-0`..`bg-15`, which the
/// page's theme must define.
///
/// Programs think of other grounds than the page's: bright yellow can't be read on white, dark blue not
/// on black. So the colour of text is made darker for a light page, and lighter for a dark one, until it
/// can be read (WCAG 2.2, 1.4.3: 4.5 to 1). Grounds are as they are, with black or white text on them,
/// whatever its own colour.
pub fn palette_css() -> String {
    let mut css = String::new();
    // Writing to a String can't fail.
    for number in 0..=255 {
        let [[r, g, b], [x, y, z]] = readable(rgb(number));
        let _ = writeln!(
            css,
            ".c{number}{{color:light-dark(#{r:02x}{g:02x}{b:02x},#{x:02x}{y:02x}{z:02x})}}"
        );
    }
    // Behind those of text, whose colour they decide.
    for number in 0..=255 {
        let [r, g, b] = rgb(number);
        let text = if luminance([r, g, b]) > 0.179 {
            "#000"
        } else {
            "#fff"
        };
        let _ = writeln!(
            css,
            ".b{number}{{background-color:#{r:02x}{g:02x}{b:02x};color:{text}}}"
        );
    }
    css
}

/// The luminance (0 to 1) that text must not exceed on any light ground of the log page: 4.5 to 1
/// against one of 0.88.
const LIGHT_PAGE: f64 = 0.155;
/// The luminance that text must reach on any dark ground of the log page: 4.5 to 1 against one of 0.036.
const DARK_PAGE: f64 = 0.34;

/// A colour for a light page, and for a dark one.
fn readable(colour: [u8; 3]) -> [[u8; 3]; 2] {
    let mixed = |with: u32, percent: u32| {
        colour.map(|v| ((u32::from(v) * (100 - percent) + with * percent) / 100) as u8)
    };
    let darker = (0..100).map(|percent| mixed(0, percent));
    let lighter = (0..100).map(|percent| mixed(255, percent));
    [
        darker
            .into_iter()
            .find(|c| luminance(*c) <= LIGHT_PAGE)
            .unwrap_or([0; 3]),
        lighter
            .into_iter()
            .find(|c| luminance(*c) >= DARK_PAGE)
            .unwrap_or([255; 3]),
    ]
}

/// Relative luminance as WCAG defines it, from 0 for black to 1 for white.
fn luminance(colour: [u8; 3]) -> f64 {
    let [r, g, b] = colour.map(|value| {
        let value = f64::from(value) / 255.0;
        if value <= 0.04045 {
            value / 12.92
        } else {
            ((value + 0.055) / 1.055).powf(2.4)
        }
    });
    0.2126 * r + 0.7152 * g + 0.0722 * b
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn true_colours_become_the_nearest_of_the_palette() {
        for (wanted, expected) in [
            ([0, 0, 0], 16),
            ([255, 255, 255], 231),
            ([255, 0, 0], 196),
            ([254, 1, 3], 196),
            ([8, 8, 8], 232),
            ([128, 128, 128], 244),
            ([95, 135, 175], 67),
        ] {
            let [r, g, b] = wanted;
            assert_eq!(nearest(r, g, b), Some(Colour::palette(expected)));
        }
        for number in 16..=255 {
            let [r, g, b] = rgb(number);
            let found = nearest(r.into(), g.into(), b.into()).unwrap();
            assert_eq!(rgb((found.0 - 1) as u8), rgb(number));
        }
        assert_eq!(nearest(256, 0, 0), None);
    }

    #[test]
    fn the_palette_is_all_there() {
        let css = palette_css();
        assert_eq!(css.lines().count(), 512);
        // Red is readable on white with a little less of it, and on black with a little white.
        let red = css.lines().find(|line| line.starts_with(".c196{")).unwrap();
        assert_eq!(red, ".c196{color:light-dark(#dd0000,#ff7070)}");
        assert!(css.contains(".c16{color:light-dark(#000000,"));
        assert!(
            css.contains(",#ffffff)}\n.c232{"),
            "white stays white on a dark page"
        );
        assert!(css.contains(".b244{background-color:#808080;color:#000}\n"));
        assert!(css.contains(".b17{background-color:#00005f;color:#fff}\n"));
    }
}
