//! Names and numbers as people read them.

use crate::report::short;
use crate::results::Interval;

/// What the end of a figure's name says of its unit.
const UNITS: &[(&str, &str)] = &[
    ("_ms", "ms"),
    ("_us", "us"),
    ("_s", "s"),
    ("_mbit", "Mbit/s"),
    ("_octets", "octets"),
    ("_percent", "%"),
    ("_ratio", ""),
    ("_bits", "bits"),
];

/// A figure's name in words, and its unit; empty if it has none.
pub fn words(figure: &str) -> (String, &'static str) {
    let found = UNITS
        .iter()
        .find_map(|(end, unit)| Some((figure.strip_suffix(end)?, *unit)));
    let (name, unit) = found.unwrap_or((figure, ""));
    (name.replace('_', " "), unit)
}

/// The same in one text.
pub fn label(figure: &str) -> String {
    match words(figure) {
        (name, "") => name,
        (name, unit) => format!("{name}, {unit}"),
    }
}

/// A mean and its interval.
pub fn measured(interval: &Interval) -> String {
    match interval.half {
        Some(half) => format!("{} \u{b1} {}", short(interval.mean), short(half)),
        None => short(interval.mean),
    }
}

/// A coordinate's name and value in words.
pub fn coordinate(name: &str, value: f64) -> String {
    let (name, unit) = words(name);
    match (name.as_str(), unit) {
        // No rate is no limit.
        ("rate", _) if value == 0.0 => "no rate limit".to_string(),
        (name, "") => format!("{name} {value}"),
        (name, unit) => format!("{name} {value} {unit}"),
    }
}

/// The date and time of day (UTC) of a moment in seconds of Unix time (days to civil date as the proleptic Gregorian
/// calendar has them).
pub fn date(unix: u64) -> String {
    let (days, seconds) = (unix / 86_400, unix % 86_400);
    // Days since 0000-03-01: years then begin in March, and the day that leap years have more is their last.
    let days = days + 719_468;
    let era = days / 146_097;
    let day = days % 146_097;
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let day = day - (153 * month + 2) / 5 + 1;
    let (month, later) = if month < 10 {
        (month + 3, 0)
    } else {
        (month - 9, 1)
    };
    let year = era * 400 + year + later;
    format!(
        "{year:04}-{month:02}-{day:02} {:02}:{:02} UTC",
        seconds / 3_600,
        seconds / 60 % 60
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_taken_from_the_end_of_a_name() {
        assert_eq!(label("delay_p50_ms"), "delay p50, ms");
        assert_eq!(label("sum_mbit"), "sum, Mbit/s");
        assert_eq!(label("jain_ratio"), "jain");
        assert_eq!(label("sockets"), "sockets");
        assert_eq!(coordinate("loss_percent", 0.1), "loss 0.1 %");
        assert_eq!(coordinate("rate_mbit", 0.0), "no rate limit");
    }

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01 00:00 UTC");
        assert_eq!(date(951_782_400 + 3_661), "2000-02-29 01:01 UTC");
        assert_eq!(date(1_767_225_599), "2025-12-31 23:59 UTC");
    }
}
