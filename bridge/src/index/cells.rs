//! Cells for what is searched for by range: days, months and years, and numbers to two digits. A range becomes the cells
//! that cover it, rounded outward; the exact test on the opened resource does the rest. Pure.

use crate::fhir::search::number::{Asked, Interval};
use crate::fhir::search::span::{DAY, Prefix, Span};
use jiff::civil::{Date, date};
use rust_decimal::Decimal;

/// Years outside these share a cell: open-ended ranges must end somewhere.
const FIRST_YEAR: i16 = 1850;
const LAST_YEAR: i16 = 2100;
/// A range of numbers over more cells is not narrowed by them.
const MAX_NUMBER_CELLS: usize = 200;

/// A stretch of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cell {
    Year(i16),
    /// Months since the year 0.
    Month(i32),
    /// Days since 1970.
    Day(i32),
    /// A period without this end.
    Open,
}

/// Which end of a span a cell is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The span lies within one day.
    Point,
    Start,
    Finish,
}

impl Cell {
    /// Its name inside a token.
    pub fn name(self) -> String {
        match self {
            Self::Year(n) => format!("y{n}"),
            Self::Month(n) => format!("m{n}"),
            Self::Day(n) => format!("d{n}"),
            Self::Open => "open".to_owned(),
        }
    }
}

/// The cells of a value: day, month and year of both ends.
pub fn of_span(span: Span) -> Vec<(End, Cell)> {
    let (first, last) = (day_of(span.from), day_of(span.to.saturating_sub(1)));
    let ends = if first == last && span.from != i64::MIN && span.to != i64::MAX {
        vec![(End::Point, Some(first))]
    } else {
        let start = (span.from != i64::MIN).then_some(first);
        let finish = (span.to != i64::MAX).then_some(last);
        vec![(End::Start, start), (End::Finish, finish)]
    };
    let cells = |(end, day): (End, Option<i32>)| {
        let cells = day.map_or_else(|| vec![Cell::Open], of_day);
        cells.into_iter().map(move |cell| (end, cell))
    };
    ends.into_iter().flat_map(cells).collect()
}

/// The cells, one of which a value has that fits; none: every value may fit.
pub fn of_range(prefix: Prefix, asked: Span, now: i64) -> Option<Vec<(End, Cell)>> {
    let (from, to) = (day_of(asked.from), day_of(asked.to.saturating_sub(1)));
    let cover = |ends: [End; 2], low: Option<i32>, high: Option<i32>| {
        let cells = cover(low, high);
        ends.into_iter().flat_map(|end| cells.iter().map(move |cell| (end, *cell))).collect::<Vec<_>>()
    };
    let starts = [End::Point, End::Start];
    let finishes = [End::Point, End::Finish];
    Some(match prefix {
        Prefix::Ne => return None,
        Prefix::Eq => cover(starts, Some(from), Some(to)),
        Prefix::Gt => with_open(cover(finishes, Some(to), None), End::Finish),
        Prefix::Ge => with_open(cover(finishes, Some(from), None), End::Finish),
        Prefix::Lt | Prefix::Le => with_open(cover(starts, None, Some(to)), End::Start),
        Prefix::Sa => cover(starts, Some(day_of(asked.to)), None),
        Prefix::Eb => cover(finishes, None, Some(from)),
        Prefix::Ap => with_open(cover(starts, None, Some(day_of(asked.widened(now).to))), End::Start),
    })
}

fn with_open(mut cells: Vec<(End, Cell)>, end: End) -> Vec<(End, Cell)> {
    cells.push((end, Cell::Open));
    cells
}

fn day_of(micros: i64) -> i32 {
    // Whatever i64 holds in microseconds is less than 2^31 days.
    micros.div_euclid(DAY) as i32
}

fn civil(day: i32) -> Option<Date> {
    date(1970, 1, 1).checked_add(jiff::Span::new().try_days(day).ok()?).ok()
}

fn of_day(day: i32) -> Vec<Cell> {
    let Some(date) = civil(day) else { return vec![far(day)] };
    if !has_months(date.year()) {
        return vec![far(day)];
    }
    vec![Cell::Day(day), Cell::Month(month(date)), Cell::Year(date.year())]
}

/// Whether the days of a year have cells of their own.
pub fn has_months(year: i16) -> bool {
    (FIRST_YEAR..=LAST_YEAR).contains(&year)
}

fn far(day: i32) -> Cell {
    Cell::Year(if day < 0 { FIRST_YEAR - 1 } else { LAST_YEAR + 1 })
}

fn month(date: Date) -> i32 {
    i32::from(date.year()) * 12 + i32::from(date.month()) - 1
}

fn first_day(year: i16, month: i8) -> i32 {
    date(1970, 1, 1).until(date(year, month, 1)).map_or(0, |span| span.get_days())
}

/// The fewest cells that hold every day from `low` to `high`.
fn cover(low: Option<i32>, high: Option<i32>) -> Vec<Cell> {
    let (first, last) = (first_day(FIRST_YEAR, 1), first_day(LAST_YEAR + 1, 1) - 1);
    let mut cells = Vec::new();
    if low.is_none_or(|day| day < first) {
        cells.push(Cell::Year(FIRST_YEAR - 1));
    }
    if high.is_none_or(|day| day > last) {
        cells.push(Cell::Year(LAST_YEAR + 1));
    }
    let (mut day, last) = (low.map_or(first, |d| d.max(first)), high.map_or(last, |d| d.min(last)));
    while day <= last {
        let Some(date) = civil(day) else { break };
        let (cell, next) = largest(date, day, last);
        cells.push(cell);
        day = next;
    }
    cells
}

/// The largest cell that begins on a day and does not reach beyond `last`, and the day after it.
fn largest(date: Date, day: i32, last: i32) -> (Cell, i32) {
    let year_end = first_day(date.year() + 1, 1);
    if date.month() == 1 && date.day() == 1 && year_end - 1 <= last {
        return (Cell::Year(date.year()), year_end);
    }
    let month_end = if date.month() == 12 { year_end } else { first_day(date.year(), date.month() + 1) };
    if date.day() == 1 && month_end - 1 <= last {
        return (Cell::Month(month(date)), month_end);
    }
    (Cell::Day(day), day + 1)
}

/// A number to two digits: its sign, its exponent of ten, and 10 to 99 (0 for zero).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Digits {
    negative: bool,
    exponent: i32,
    two: u8,
}

impl Digits {
    /// Its name inside a token.
    pub fn name(self) -> String {
        format!("{}{}e{}", if self.negative { "-" } else { "" }, self.two, self.exponent)
    }

    fn of(number: Decimal) -> Self {
        let mantissa = number.mantissa().unsigned_abs();
        if mantissa == 0 {
            return Self { negative: false, exponent: 0, two: 0 };
        }
        let digits = mantissa.ilog10() as i32;
        let two = if digits >= 1 { mantissa / 10_u128.pow(digits as u32 - 1) } else { mantissa * 10 };
        let exponent = digits - number.scale() as i32;
        // Two digits of a positive number are below 100.
        Self { negative: number.is_sign_negative(), exponent, two: two as u8 }
    }

    /// The next larger in size, of the same sign.
    fn outward(self) -> Self {
        if self.two == 99 {
            Self { exponent: self.exponent + 1, two: 10, ..self }
        } else {
            Self { two: self.two + 1, ..self }
        }
    }
}

/// The cell of a value; none: it is a range, and never narrowed by cells.
pub fn of_number(value: Interval) -> Option<Digits> {
    value.low.filter(|low| value.high == Some(*low)).map(Digits::of)
}

/// The cells, one of which a number has that fits; none: every number may fit.
pub fn of_numbers(prefix: Prefix, asked: &Asked) -> Option<Vec<Digits>> {
    if !matches!(prefix, Prefix::Eq | Prefix::Ap) {
        return None;
    }
    let (from, to) = asked.span(prefix);
    if from.is_zero() || to.is_zero() || from.is_sign_negative() != to.is_sign_negative() {
        return None;
    }
    let (near, far) = if from.is_sign_negative() { (to, from) } else { (from, to) };
    let far = Digits::of(far);
    let cells: Vec<Digits> =
        std::iter::successors(Some(Digits::of(near)), |cell| (*cell != far).then(|| cell.outward()))
            .take(MAX_NUMBER_CELLS + 1)
            .collect();
    (cells.len() <= MAX_NUMBER_CELLS).then_some(cells)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::search::span::{moment, period};
    use proptest::prelude::*;

    #[test]
    fn covers_are_small() {
        let cells = |text: &str| of_range(Prefix::Eq, moment(text).unwrap(), 0).unwrap().len();
        assert_eq!(
            (cells("2024"), cells("2024-02"), cells("2024-02-03")),
            (2, 2, 2),
            "one cell, as point and as start"
        );
        let since = of_range(Prefix::Ge, moment("2020-05-17").unwrap(), 0).unwrap();
        assert!(since.len() < 250, "{}", since.len());
        assert_eq!(of_span(period(Some("2020"), None).unwrap()).last(), Some(&(End::Finish, Cell::Open)));
        assert_eq!(of_span(moment("0001-01-01").unwrap()), [(End::Point, Cell::Year(1849))]);
    }

    fn spans() -> impl Strategy<Value = Span> {
        let day = -60_000_i64..60_000;
        (day, 0_i64..900, prop::bool::ANY, prop::bool::ANY).prop_map(|(day, length, no_start, no_end)| Span {
            from: if no_start { i64::MIN } else { day * DAY + 5 },
            to: if no_end { i64::MAX } else { (day + length) * DAY + 7 },
        })
    }

    fn prefixes() -> impl Strategy<Value = Prefix> {
        use Prefix::*;
        prop::sample::select(vec![Eq, Ne, Gt, Lt, Ge, Le, Sa, Eb, Ap])
    }

    proptest! {
        #[test]
        fn a_span_that_fits_has_a_cell_of_the_range(asked in spans(), value in spans(), prefix in prefixes()) {
            prop_assume!(asked.from != i64::MIN && asked.to != i64::MAX);
            if asked.accepts(prefix, value, 0) && let Some(cells) = of_range(prefix, asked, 0) {
                prop_assert!(of_span(value).iter().any(|cell| cells.contains(cell)), "{cells:?}");
            }
        }

        #[test]
        fn a_number_that_fits_has_a_cell_of_the_range(asked in -2000_i32..2000, scale in 0_u32..3, value in -2000_i32..2000, prefix in prefixes()) {
            let text = |n: i32| Decimal::new(i64::from(n), scale).to_string();
            let asked = Asked::parse(&text(asked)).unwrap();
            let value = Interval::point(&text(value)).unwrap();
            if asked.accepts(prefix, value) && let Some(cells) = of_numbers(prefix, &asked) {
                prop_assert!(cells.contains(&of_number(value).unwrap()), "{cells:?}");
            }
        }
    }
}
