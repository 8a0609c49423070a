//! The current time, and the text form of times.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};

/// Seconds since 1970-01-01 UTC, from the host's clock.
pub fn now() -> i64 {
    #[cfg(target_family = "wasm")]
    let seconds = crate::bindings::wasi::clocks::wall_clock::now().seconds;
    #[cfg(not(target_family = "wasm"))]
    let seconds = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |elapsed| elapsed.as_secs());
    i64::try_from(seconds).unwrap_or(i64::MAX)
}

/// Formats a time as `YYYY-MM-DD HH:MM:SS` in UTC.
///
/// Clamps to the years 0 to 9999, so the texts always sort in time order.
pub fn date_time(unix_seconds: i64) -> String {
    const YEAR_0: i64 = -62_167_219_200;
    const END_OF_YEAR_9999: i64 = 253_402_300_799;
    let seconds = unix_seconds.clamp(YEAR_0, END_OF_YEAR_9999);
    let (year, month, day) = civil(seconds.div_euclid(86_400));
    let in_day = seconds.rem_euclid(86_400);
    let (hour, minute, second) = (in_day / 3_600, in_day / 60 % 60, in_day % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}")
}

/// The schema of a text from [`date_time`]: `#[schemars(with = "DateTime")]`.
#[derive(Clone, Copy, Debug)]
pub enum DateTime {}

impl JsonSchema for DateTime {
    fn schema_name() -> Cow<'static, str> {
        "DateTime".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "pattern": "^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}$",
            "description": "In UTC.",
            "examples": ["2025-01-01 00:00:00"],
        })
    }
}

/// Year, month and day in the Gregorian calendar, from days since 1970-01-01.
///
/// Counts in eras of 400 years that start on 1 March. Then the leap day is the last day of its year, and the lengths of the
/// months repeat every five months (153 days).
fn civil(days: i64) -> (i64, i64, i64) {
    let since_march_of_year_0 = days + 719_468;
    let era = since_march_of_year_0.div_euclid(146_097);
    let day_of_era = since_march_of_year_0.rem_euclid(146_097);
    let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 { month_from_march + 3 } else { month_from_march - 9 };
    let year = era * 400 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_formatted_in_utc() {
        let table = [
            (0, "1970-01-01 00:00:00"),
            (-1, "1969-12-31 23:59:59"),
            (951_782_399, "2000-02-28 23:59:59"),
            (951_782_400, "2000-02-29 00:00:00"),
            (951_868_800, "2000-03-01 00:00:00"),
            (1_709_210_096, "2024-02-29 12:34:56"),
            (1_735_689_599, "2024-12-31 23:59:59"),
            (4_107_542_400, "2100-03-01 00:00:00"),
            (i64::MAX, "9999-12-31 23:59:59"),
            (i64::MIN, "0000-01-01 00:00:00"),
        ];
        for (seconds, text) in table {
            assert_eq!(date_time(seconds), text, "{seconds}");
        }
    }

    #[test]
    fn every_day_follows_the_one_before() {
        let mut before = civil(-719_528);
        assert_eq!(before, (0, 1, 1));
        for days in -719_527..=2_932_896 {
            let (year, month, day) = civil(days);
            let next_day = (before.0, before.1, before.2 + 1);
            let next_month = (before.0, before.1 + 1, 1);
            let next_year = (before.0 + 1, 1, 1);
            let leap = before.0 % 4 == 0 && (before.0 % 100 != 0 || before.0 % 400 == 0);
            let last = [31, 28 + i64::from(leap), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31][before.1 as usize - 1];
            let expected = match before {
                (_, 12, 31) => next_year,
                (_, _, day) if day == last => next_month,
                _ => next_day,
            };
            assert_eq!((year, month, day), expected, "{days}");
            before = (year, month, day);
        }
        assert_eq!(before, (9999, 12, 31));
    }
}
