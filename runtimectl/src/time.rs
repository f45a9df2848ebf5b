//! Times for people and for JSON: RFC 3339 in UTC, milliseconds.

/// `2026-11-21T09:12:03.118Z` of milliseconds since the epoch.
pub(crate) fn rfc3339(epoch_ms: u64) -> String {
    let seconds = epoch_ms / 1_000;
    let (year, month, day) = civil(seconds / 86_400);
    format!(
        "{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}.{:03}Z",
        seconds / 3_600 % 24,
        seconds / 60 % 60,
        seconds % 60,
        epoch_ms % 1_000
    )
}

/// Year, month and day of a number of days since 1970-01-01, counted in years that begin in March
/// so that the leap day is the last one (Hinnant, "chrono-Compatible Low-Level Date Algorithms").
const fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days.saturating_add(719_468);
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let leaps = (day_of_era / 1_460).saturating_add(day_of_era / 146_096);
    let year_of_era = day_of_era.saturating_add(day_of_era / 36_524).saturating_sub(leaps) / 365;
    let year_days = (year_of_era.saturating_mul(365).saturating_add(year_of_era / 4))
        .saturating_sub(year_of_era / 100);
    let day_of_year = day_of_era.saturating_sub(year_days);
    let march_month = day_of_year.saturating_mul(5).saturating_add(2) / 153;
    let before = march_month.saturating_mul(153).saturating_add(2) / 5;
    let day = day_of_year.saturating_sub(before).saturating_add(1);
    let month = if march_month < 10 {
        march_month.saturating_add(3)
    } else {
        march_month.saturating_sub(9)
    };
    let year = year_of_era.saturating_add(era.saturating_mul(400));
    (if month <= 2 { year.saturating_add(1) } else { year }, month, day)
}

/// `2h 3m`, `14m`, `8s`, `350ms`.
pub(crate) fn span(ms: u64) -> String {
    let seconds = ms / 1_000;
    match (seconds / 86_400, seconds / 3_600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, 0) => format!("{ms}ms"),
        (0, 0, 0, s) => format!("{s}s"),
        (0, 0, m, _) => format!("{m}m"),
        (0, h, m, _) => format!("{h}h {m}m"),
        (d, h, _, _) => format!("{d}d {h}h"),
    }
}

#[cfg(test)]
mod tests {
    use super::{rfc3339, span};

    #[test]
    fn known_times() {
        assert_eq!(rfc3339(0), "1970-01-01T00:00:00.000Z");
        assert_eq!(rfc3339(951_782_400_000), "2000-02-29T00:00:00.000Z");
        assert_eq!(rfc3339(951_868_799_999), "2000-02-29T23:59:59.999Z");
        assert_eq!(rfc3339(1_795_598_723_118), "2026-11-25T09:25:23.118Z");
        assert_eq!(rfc3339(4_107_542_400_000), "2100-03-01T00:00:00.000Z");
    }

    #[test]
    fn spans() {
        assert_eq!(span(350), "350ms");
        assert_eq!(span(8_900), "8s");
        assert_eq!(span(7_380_000), "2h 3m");
        assert_eq!(span(90_000_000), "1d 1h");
    }
}
