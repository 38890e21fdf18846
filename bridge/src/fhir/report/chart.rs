//! Charts of results over time, as SVG without script or style attributes. Pure: the same results draw the same lines.

use crate::fhir::display::{concepts, escape, items};
use crate::fhir::search::span::moment;
use crate::fhir::summary::code_of;
use crate::fhir::summary::sections::dated;
use notary::canonical::Json;
use std::collections::BTreeMap;

/// The charts of one section: more would hide what matters.
const MAX_CHARTS: usize = 12;
const WIDTH: f64 = 320.0;
const HEIGHT: f64 = 80.0;
/// Room for a label above and below.
const MARGIN: f64 = 14.0;

/// One measured value.
struct Point<'j> {
    /// Microseconds since 1970.
    at: i64,
    day: String,
    value: f64,
    /// The value as it was written.
    text: &'j str,
}

/// Results that can be compared: one code, one unit.
struct Series<'j> {
    title: String,
    points: Vec<Point<'j>>,
    normal: (Option<f64>, Option<f64>),
}

/// A chart for each code and unit that was measured more than once.
pub fn charts(results: &[Json]) -> String {
    let mut found: BTreeMap<(String, String), Series<'_>> = BTreeMap::new();
    for result in results {
        let at = dated(result);
        add(&mut found, result, &at);
        items(result, "component").iter().for_each(|component| add(&mut found, component, &at));
    }
    let drawn = found.into_values().filter(|series| series.points.len() > 1);
    drawn.take(MAX_CHARTS).map(Series::drawn).collect()
}

fn add<'j>(found: &mut BTreeMap<(String, String), Series<'j>>, measured: &'j Json, date: &str) {
    let Some(quantity) = measured.get("valueQuantity") else { return };
    // `< 5` is no point on a line.
    let (Some((value, text)), None) = (number(quantity), quantity.text("comparator")) else { return };
    let Some(span) = moment(date) else { return };
    let unit = quantity.text("unit").or_else(|| quantity.text("code")).unwrap_or("");
    let title =
        || if unit.is_empty() { concepts(measured, "code") } else { format!("{}, {unit}", concepts(measured, "code")) };
    let new = || Series { title: title(), points: Vec::new(), normal: normal(measured) };
    let series = found.entry((code_of(measured), unit.to_owned())).or_insert_with(new);
    let day = date.split('T').next().unwrap_or("").to_owned();
    series.points.push(Point { at: span.from, day, value, text });
}

fn number(quantity: &Json) -> Option<(f64, &str)> {
    let Some(Json::Number(lexeme)) = quantity.get("value") else { return None };
    let value: f64 = lexeme.parse().ok()?;
    value.is_finite().then_some((value, lexeme))
}

fn normal(measured: &Json) -> (Option<f64>, Option<f64>) {
    let range = items(measured, "referenceRange").first();
    let end = |name| range.and_then(|r| r.get(name)).and_then(number).map(|(value, _)| value);
    (end("low"), end("high"))
}

impl Series<'_> {
    fn drawn(mut self) -> String {
        self.points.sort_by_key(|p| p.at);
        let (low, high) = self.extent();
        let (from, to) = (self.points.first().map_or(0, |p| p.at), self.points.last().map_or(0, |p| p.at));
        let x = |at: i64| {
            if to == from { WIDTH / 2.0 } else { (at - from) as f64 / (to - from) as f64 * (WIDTH - 8.0) + 4.0 }
        };
        let y = |value: f64| {
            let part = if high > low { (value - low) / (high - low) } else { 0.5 };
            HEIGHT - MARGIN - part * (HEIGHT - 2.0 * MARGIN)
        };
        let places: Vec<(f64, f64)> = self.points.iter().map(|p| (x(p.at), y(p.value))).collect();
        let line: Vec<String> = places.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        let dots: String =
            places.iter().map(|(x, y)| format!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2\"/>")).collect();
        format!(
            "<figure><figcaption>{title}</figcaption><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{title}\">\
             {band}<polyline points=\"{line}\"/>{dots}{labels}</svg></figure>",
            title = escape(&self.title),
            band = self.band(&y, low, high),
            line = line.join(" "),
            labels = self.labels(),
        )
    }

    fn extent(&self) -> (f64, f64) {
        let values = self.points.iter().map(|p| p.value);
        values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
    }

    /// What of the reference range is in the picture.
    fn band(&self, y: &impl Fn(f64) -> f64, low: f64, high: f64) -> String {
        let (from, to) = self.normal;
        if from.is_none() && to.is_none() {
            return String::new();
        }
        let (bottom, top) = (y(from.unwrap_or(low).clamp(low, high)), y(to.unwrap_or(high).clamp(low, high)));
        format!("<rect x=\"0\" y=\"{top:.1}\" width=\"{WIDTH}\" height=\"{:.1}\"/>", (bottom - top).max(0.0))
    }

    /// The first and the last value with their days.
    fn labels(&self) -> String {
        let (Some(first), Some(last)) = (self.points.first(), self.points.last()) else { return String::new() };
        let label = |point: &Point<'_>, x: f64, anchor: &str| {
            format!(
                "<text x=\"{x}\" y=\"9\" text-anchor=\"{anchor}\">{}</text><text x=\"{x}\" y=\"{HEIGHT}\" text-anchor=\"{anchor}\">{}</text>",
                escape(point.text),
                escape(&point.day)
            )
        };
        format!("{}{}", label(first, 0.0, "start"), label(last, WIDTH, "end"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(day: &str, value: &str, unit: &str) -> Json {
        let text = format!(
            r#"{{"resourceType":"Observation","code":{{"coding":[{{"code":"g"}}],"text":"Glucose <x>"}},"effectiveDateTime":"{day}",
            "valueQuantity":{{"value":{value},"unit":"{unit}"}},"referenceRange":[{{"low":{{"value":4}},"high":{{"value":6}}}}]}}"#
        );
        Json::parse(text.as_bytes()).unwrap()
    }

    #[test]
    fn a_series_of_one_unit_is_a_line_through_its_points() {
        let drawn = charts(&[
            result("2024-03-01", "7.00", "mmol/L"),
            result("2024-01-01", "5", "mmol/L"),
            result("2024-02-01", "90", "mg/dL"),
        ]);
        assert_eq!(drawn.matches("<svg").count(), 1, "one value is no trend");
        assert_eq!(drawn.matches("<circle").count(), 2);
        assert!(drawn.contains("points=\"4.0,66.0 316.0,14.0\""), "{drawn}");
        assert!(drawn.contains("Glucose &lt;x&gt;, mmol/L") && drawn.contains(">7.00<"), "{drawn}");
        assert!(drawn.contains("<rect x=\"0\" y=\"40.0\" width=\"320\" height=\"26.0\"/>"), "{drawn}");
    }

    #[test]
    fn values_without_a_place_are_left_out() {
        let mut bounded = result("2024-01-01", "5", "x");
        bounded.get_mut("valueQuantity").unwrap().set("comparator", "<".into());
        let mut undated = result("2024-01-01", "5", "x");
        undated.remove("effectiveDateTime");
        assert_eq!(charts(&[result("2024-01-01", "5", "x"), bounded, undated, result("2024-01-02", "1e999", "x")]), "");
        let same = charts(&[result("2024-01-01", "5", "x"), result("2024-01-01", "5", "x")]);
        assert!(!same.contains("NaN") && same.contains("<svg"));
    }
}
