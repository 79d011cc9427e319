//! What the name of a file says.

use super::FolderError;
use crate::version::Version;

/// What a file is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Up,
    Down,
    Repeatable,
    Baseline,
}

/// What the name of a file says.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named<'f> {
    pub(super) role: Role,
    /// Of a repeatable file: without its text.
    pub(super) version: Version,
    pub(super) name: &'f str,
    /// Of the kind that Flyway and refinery read.
    pub(super) letter: bool,
}

/// Whether Flyway would take it, in whichever folder below its own.
pub(super) fn has_letter(base: &str) -> bool {
    base.starts_with(['V', 'R', 'U', 'B']) && base.ends_with(".sql") && base.contains("__")
}

/// Takes `0007_add_email.sql`, `7.down.sql`, `V1.4__add_email.sql`, `U1.4__add_email.sql`, `R__views.sql` apart;
/// `file` is a path.
pub(super) fn parse(file: &str) -> Result<Named<'_>, FolderError> {
    let base = file.rsplit('/').next().unwrap_or(file);
    let wrong = || FolderError::Name {
        file: file.to_owned(),
    };
    let stem = base.strip_suffix(".sql").ok_or_else(wrong)?;
    if let Some(name) = stem.strip_prefix("R__") {
        if name.is_empty() {
            return Err(wrong());
        }
        return Ok(Named {
            role: Role::Repeatable,
            version: Version::repeatable(name, ""),
            name,
            letter: true,
        });
    }
    let is_number = |rest: &str| rest.starts_with(|c: char| c.is_ascii_digit());
    let (mut letter, mut rest) = (None, stem);
    if let Some(first @ ('V' | 'U' | 'B')) = stem.chars().next()
        && is_number(&stem[1..])
    {
        (letter, rest) = (Some(first), &stem[1..]);
    }
    let callback = |word: &str| {
        stem.strip_prefix(word)
            .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_uppercase()))
    };
    if callback("before") || callback("after") {
        return Err(FolderError::Callback {
            file: file.to_owned(),
        });
    }
    let (mut rest, mut role) = match rest.strip_suffix(".down") {
        Some(rest) => (rest, Role::Down),
        None => (rest.strip_suffix(".up").unwrap_or(rest), Role::Up),
    };
    match letter {
        Some('U') => role = Role::Down,
        Some('B') => role = Role::Baseline,
        _ => {}
    }
    if letter.is_some() {
        let (version, name) = rest.split_once("__").unwrap_or((rest, ""));
        if let Ok(version) = version.parse::<Version>()
            && version > Version::NONE
        {
            return Ok(Named {
                role,
                version,
                name: name.trim_start_matches('_'),
                letter: true,
            });
        }
    }
    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let version: i64 = rest[..digits].parse().map_err(|_| wrong())?;
    rest = &rest[digits..];
    let name = match rest.strip_prefix(['_', '-']) {
        Some(name) if !name.is_empty() => name.trim_start_matches('_'),
        None if rest.is_empty() => "",
        _ => return Err(wrong()),
    };
    if version == 0 {
        return Err(wrong());
    }
    Ok(Named {
        role,
        version: Version::from(version),
        name,
        letter: letter.is_some(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_version_and_role() {
        let up = |file, version: &str, name| {
            let found = parse(file).unwrap();
            let expected = Named {
                role: Role::Up,
                version: version.parse().unwrap(),
                name,
                letter: file.contains('V'),
            };
            assert_eq!(found, expected, "{file}");
        };
        up("0007_add_email.sql", "7", "add_email");
        up("7-x.up.sql", "7", "x");
        up("20260131120000.sql", "20260131120000", "");
        up("V7__add_email.sql", "7", "add_email");
        up("V1.1__a__b.sql", "1.1", "a__b");
        up("V1_10__x.sql", "1.10", "x");
        up("sub/folder/V2026.01.05.1200__x.sql", "2026.1.5.1200", "x");
        up("V7.sql", "7", "");
        up("V7_x.sql", "7", "x");
        let role = |file| parse(file).map(|named| named.role);
        assert_eq!(role("7_x.down.sql").unwrap(), Role::Down);
        assert_eq!(role("U1.1__x.sql").unwrap(), Role::Down);
        assert_eq!(role("R__views.sql").unwrap(), Role::Repeatable);
        assert_eq!(role("B1.5__all.sql").unwrap(), Role::Baseline);
        for wrong in [
            "x.sql",
            "R__.sql",
            "Rx.sql",
            "V__x.sql",
            "V1.x__y.sql",
            "1.2_x.sql",
            "7x.sql",
            "0_x.sql",
            "V0__x.sql",
            "7_.sql",
        ] {
            assert!(
                matches!(role(wrong), Err(FolderError::Name { .. })),
                "{wrong}"
            );
        }
        for theirs in ["beforeMigrate.sql", "afterMigrate__grants.sql"] {
            assert!(
                matches!(role(theirs), Err(FolderError::Callback { .. })),
                "{theirs}"
            );
        }
        assert!(matches!(
            role("before_x.sql"),
            Err(FolderError::Name { .. })
        ));
    }
}
