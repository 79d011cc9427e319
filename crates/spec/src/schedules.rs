//! Times at which builds are made: cron expressions in a time zone.
//!
//! The expressions are those of crontab(5), read by the `cronexpr` crate; the time zones come with
//! the program, so that it does not matter what the machine has. Where a clock is put forward, a
//! time that does not exist that day is left out; where it is put back, a time that is there twice
//! counts once, unless the expression means every hour.

use jiff::tz::AmbiguousOffset;
use jiff::{Timestamp, Zoned};

/// A schedule of a spec (`on.schedule`).
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Schedule {
    /// Its name; unique in the spec.
    pub name: String,
    /// Five fields: minute, hour, day of the month, month, day of the week.
    pub cron: String,
    /// A name of the IANA database.
    pub timezone: String,
    /// The branch that is built; `None` is the repository's default branch.
    pub branch: Option<String>,
}

impl Schedule {
    /// The first time after `after_ms`, both in milliseconds since 1970. `None` if there is none,
    /// which the check of the spec has refused.
    pub fn next_ms(&self, after_ms: i64) -> Option<i64> {
        next_ms(&self.cron, &self.timezone, after_ms)
    }
}

/// As [`Schedule::next_ms`], for an expression and a time zone.
pub fn next_ms(cron: &str, timezone: &str, after_ms: i64) -> Option<i64> {
    let after = Timestamp::from_millisecond(after_ms).ok()?;
    let times = cronexpr::parse_crontab(&format!("{cron} {timezone}")).ok()?;
    let every_hour = cron
        .split_whitespace()
        .nth(1)
        .is_some_and(|hours| hours.starts_with('*'));
    let mut next = times.find_next(cronexpr::MakeTimestamp(after)).ok()?;
    while !every_hour && is_second(&next) {
        next = times
            .find_next(cronexpr::MakeTimestamp(next.timestamp()))
            .ok()?;
    }
    Some(next.timestamp().as_millisecond())
}

/// Whether the clock shows this time for the second time, having been put back.
fn is_second(time: &Zoned) -> bool {
    let offset = time
        .time_zone()
        .to_ambiguous_zoned(time.datetime())
        .offset();
    matches!(offset, AmbiguousOffset::Fold { after, .. } if after == time.offset())
}

/// The expressions that have a name.
const NAMED: [(&str, &str); 5] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
];

/// The five fields of an expression.
///
/// # Errors
/// What is wrong with it, for people.
pub(crate) fn fields(text: &str) -> Result<String, String> {
    if let Some((_, fields)) = NAMED.iter().find(|(name, _)| *name == text) {
        return Ok((*fields).to_owned());
    }
    if text.starts_with('@') {
        let names: Vec<&str> = NAMED.iter().map(|(name, _)| *name).collect();
        return Err(format!("the names are {}", names.join(", ")));
    }
    let fields: Vec<&str> = text.split_whitespace().collect();
    match fields.len() {
        5 => {}
        6 => {
            return Err(
                "there are six fields; Windlass has no seconds, and years are not told".to_owned(),
            );
        }
        n => {
            return Err(format!(
                "there {} {n} of five fields",
                if n == 1 { "is" } else { "are" }
            ));
        }
    }
    let fields = fields.join(" ");
    // Any day will do: does such a day exist at all?
    let start = cronexpr::MakeTimestamp(Timestamp::UNIX_EPOCH);
    let times = cronexpr::parse_crontab(&format!("{fields} UTC"))
        .map_err(|e| first_words(&e.to_string()))?;
    times
        .find_next(start)
        .map_err(|_| "there is no such day".to_owned())?;
    Ok(fields)
}

/// Whether a time zone exists.
pub(crate) fn is_timezone(name: &str) -> bool {
    !name.is_empty() && !name.contains(char::is_whitespace) && jiff::tz::TimeZone::get(name).is_ok()
}

/// Time zones near a name that does not exist.
pub(crate) fn near_timezone(name: &str) -> Option<String> {
    let name = name.to_lowercase();
    let wanted = name.rsplit('/').next().unwrap_or(&name);
    jiff::tz::db()
        .available()
        .map(|zone| zone.to_string())
        .find(|zone| {
            let zone = zone.to_lowercase();
            zone == name || zone.rsplit('/').next() == Some(wanted)
        })
}

/// The sentence of a message that has a drawing below it.
fn first_words(message: &str) -> String {
    let lines = message.lines().map(str::trim);
    let mut words: Vec<&str> = lines
        .filter(|line| line.chars().any(char::is_alphabetic))
        .collect();
    words.dedup();
    let words = words.last().copied().unwrap_or("it can't be read");
    words.trim_start_matches(['^', ' ']).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn next(cron: &str, zone: &str, after: &str) -> String {
        let after: Timestamp = after.parse().unwrap();
        let ms = next_ms(cron, zone, after.as_millisecond()).unwrap();
        Timestamp::from_millisecond(ms).unwrap().to_string()
    }

    #[test]
    fn times_are_those_of_the_zone() {
        let noon = "2026-11-24T12:00:00Z";
        assert_eq!(next("0 3 * * *", "UTC", noon), "2026-11-25T03:00:00Z");
        assert_eq!(
            next("0 3 * * *", "Europe/Berlin", noon),
            "2026-11-25T02:00:00Z"
        );
        assert_eq!(
            next("0 3 * * *", "Asia/Kolkata", noon),
            "2026-11-24T21:30:00Z"
        );
        // Not the same time again.
        assert_eq!(
            next("0 3 * * *", "UTC", "2026-11-25T03:00:00Z"),
            "2026-11-26T03:00:00Z"
        );
    }

    #[test]
    fn clocks_that_are_changed_neither_lose_nor_double_a_night() {
        // Berlin, 2026: forward on 29 March at 2, back on 25 October at 3.
        let mut at: Timestamp = "2026-03-27T12:00:00Z".parse().unwrap();
        let end: Timestamp = "2026-10-28T12:00:00Z".parse().unwrap();
        let mut count = 0;
        while at < end {
            let ms = next_ms("30 4 * * *", "Europe/Berlin", at.as_millisecond()).unwrap();
            at = Timestamp::from_millisecond(ms).unwrap();
            count += 1;
        }
        assert_eq!(count, 216);
        // In the hour that is there twice, once.
        let first = next("30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z");
        assert_eq!(first, "2026-10-25T00:30:00Z");
        assert_eq!(
            next("30 2 * * *", "Europe/Berlin", &first),
            "2026-10-26T01:30:00Z"
        );
    }

    #[test]
    fn every_hour_is_every_hour_also_when_it_is_there_twice() {
        let first = next("0 * * * *", "Europe/Berlin", "2026-10-24T23:30:00Z");
        assert_eq!(first, "2026-10-25T00:00:00Z");
        assert_eq!(
            next("0 * * * *", "Europe/Berlin", &first),
            "2026-10-25T01:00:00Z"
        );
        // In spring there is no half past two.
        let spring = next("30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z");
        assert_eq!(spring, "2026-03-30T00:30:00Z");
    }

    #[test]
    fn what_is_no_schedule() {
        assert_eq!(fields("@daily").unwrap(), "0 0 * * *");
        assert_eq!(
            fields("*/5  8-18 * * mon-fri").unwrap(),
            "*/5 8-18 * * mon-fri"
        );
        for bad in [
            "",
            "* * * *",
            "0 0 0 * * *",
            "60 * * * *",
            "x * * * *",
            "0 0 31 2 *",
            "@often",
        ] {
            assert!(fields(bad).is_err(), "{bad}");
        }
        assert!(is_timezone("Europe/Berlin") && is_timezone("UTC"));
        assert!(!is_timezone("Berlin") && !is_timezone(""));
        assert_eq!(near_timezone("berlin").as_deref(), Some("Europe/Berlin"));
    }
}
