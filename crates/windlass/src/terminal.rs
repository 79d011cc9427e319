//! Small words for terminals: ages, durations, states.

use windlass_model::BuildState;

/// `1.2s`, `3m 04s`, `2h 05m`: how long something took.
pub(crate) fn duration(us: u64) -> String {
    let seconds = us / 1_000_000;
    match seconds {
        0..=59 => format!("{}.{}s", seconds, us % 1_000_000 / 100_000),
        60..=3599 => format!("{}m {:02}s", seconds / 60, seconds % 60),
        _ => format!("{}h {:02}m", seconds / 3600, seconds % 3600 / 60),
    }
}

/// `12s ago`, `3h ago`.
pub(crate) fn age(since_ms: i64) -> String {
    let seconds = (windlass_store::db::now_ms() - since_ms).max(0) / 1000;
    match seconds {
        0..=59 => format!("{seconds}s ago"),
        60..=3599 => format!("{}m ago", seconds / 60),
        3600..=86_399 => format!("{}h ago", seconds / 3600),
        _ => format!("{}d ago", seconds / 86_400),
    }
}

/// A mark in front of a state, so that colour alone never carries it.
pub(crate) fn mark(state: BuildState) -> &'static str {
    match state {
        BuildState::Queued => "·",
        BuildState::Running => "▶",
        BuildState::Passed => "✓",
        BuildState::Failed => "✗",
        BuildState::Error => "!",
        BuildState::Cancelled => "■",
        BuildState::Skipped => "–",
    }
}

/// The SGR colour of a state.
pub(crate) fn colour(state: BuildState) -> &'static str {
    match state {
        BuildState::Queued | BuildState::Cancelled | BuildState::Skipped => "2",
        BuildState::Running => "36",
        BuildState::Passed => "32",
        BuildState::Failed => "31",
        BuildState::Error => "33",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_well() {
        for (us, words) in [
            (0, "0.0s"),
            (1_250_000, "1.2s"),
            (59_990_000, "59.9s"),
            (184_000_000, "3m 04s"),
            (7_500_000_000, "2h 05m"),
        ] {
            assert_eq!(duration(us), words);
        }
    }
}
