//! Whether two Patient resources are one person (`$match`). Identifiers decide, demographics are weighed. Pure: the same two
//! resources get the same score always, and nothing is merged.

use super::search::text::{escape, fold};
use notary::canonical::Json;
use std::collections::BTreeSet;
use strsim::damerau_levenshtein;

/// How sure a match is (<http://hl7.org/fhir/R4/valueset-match-grade.html>).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Grade {
    CertainlyNot,
    Possible,
    Probable,
    Certain,
}

/// A comparison's outcome: hundredths from 0 to 100.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Score {
    pub hundredths: u8,
    pub grade: Grade,
}

/// What two records show of one feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Evidence {
    Same,
    /// A likely slip, or one says less than the other.
    Close,
    Different,
    /// One of them does not say.
    Silent,
}

/// What a feature's evidence is worth, in hundredths.
struct Weight {
    feature: fn(&Json, &Json) -> Evidence,
    same: i32,
    close: i32,
    different: i32,
}

/// The weights. All agreements together make 100; name and birth date together make a match probable, and no two features
/// do. A contradiction costs as much as it seldom happens to one person: people marry, move and change numbers, but are
/// born once.
const WEIGHTS: [Weight; 6] = [
    Weight { feature: birth_date, same: 30, close: 15, different: -30 },
    Weight { feature: family, same: 30, close: 20, different: -15 },
    Weight { feature: given, same: 20, close: 12, different: -15 },
    Weight { feature: telecom, same: 10, close: 0, different: 0 },
    Weight { feature: gender, same: 5, close: 0, different: -15 },
    Weight { feature: postal_code, same: 5, close: 0, different: 0 },
];
/// Two values of one identifier system: one person has one number there, but cards are lost and records mended.
const CONTRADICTION: i32 = 30;
/// What is still told: the whole name with nothing against it, or birth date and name with a slip in each.
const POSSIBLE: i32 = 50;
/// Family name, given name and birth date as they are, nothing against it.
const PROBABLE: i32 = 80;
/// One side's last digits of a phone number: country codes and leading zeros differ.
const PHONE_DIGITS: usize = 8;
/// Shorter names are not compared by distance: `Li` and `Lu` are two names.
const MIN_SLIP: usize = 4;

impl Grade {
    /// Its code.
    pub fn code(self) -> &'static str {
        match self {
            Self::CertainlyNot => "certainly-not",
            Self::Possible => "possible",
            Self::Probable => "probable",
            Self::Certain => "certain",
        }
    }
}

/// Compares who is asked for with who is there.
pub fn score(asked: &Json, there: &Json) -> Score {
    let (shared, contradicting) = identifiers(asked, there);
    let weighed: i32 = WEIGHTS.iter().map(|w| w.of(asked, there)).sum();
    let other_person = [birth_date(asked, there), family(asked, there)] == [Evidence::Different; 2];
    let points = if shared { 100 } else { weighed.min(99) } - contradicting * CONTRADICTION;
    let grade = match points {
        _ if shared && contradicting == 0 && !other_person => Grade::Certain,
        // A number given to the wrong person, or to another one after him: for people to decide.
        _ if shared => Grade::Probable.min(graded(points)).max(Grade::Possible),
        points => graded(points),
    };
    let points = if shared && other_person { points.min(PROBABLE) } else { points };
    Score { hundredths: u8::try_from(points.clamp(0, 100)).unwrap_or(0), grade }
}

fn graded(points: i32) -> Grade {
    match points {
        PROBABLE.. => Grade::Probable,
        POSSIBLE.. => Grade::Possible,
        _ => Grade::CertainlyNot,
    }
}

impl Weight {
    fn of(&self, asked: &Json, there: &Json) -> i32 {
        match (self.feature)(asked, there) {
            Evidence::Same => self.same,
            Evidence::Close => self.close,
            Evidence::Different => self.different,
            Evidence::Silent => 0,
        }
    }
}

/// No more of a Patient than is compared: by that others are asked who he is there.
pub fn described(patient: &Json) -> Json {
    const COMPARED: &[&str] = &["resourceType", "identifier", "name", "birthDate", "gender", "telecom"];
    let copied = COMPARED.iter().filter_map(|name| Some(((*name).to_owned(), patient.get(name)?.clone())));
    let codes = items(patient, "address").iter().filter_map(|address| address.get("postalCode").cloned());
    let addresses: Vec<Json> = codes.map(|code| Json::Object(vec![("postalCode".to_owned(), code)])).collect();
    let addresses = Some(("address".to_owned(), Json::Array(addresses))).filter(|(_, all)| !all.items().is_empty());
    Json::Object(copied.chain(addresses).collect())
}

/// Searches that together find whoever could be a match: an identifier; the birth date with the beginning of a name; the
/// family name with the beginning of a given name, for birth dates with a slip; a telephone number or address.
pub fn blocks(asked: &Json) -> Vec<Vec<(String, String)>> {
    let first = |text: &str, length: usize| escape(&text.chars().take(length).collect::<String>());
    let named = |name: &str, value: String| (name.to_owned(), value);
    let raw = |list: &[Json], name: &str| -> Vec<String> {
        list.iter().filter_map(|i| i.text(name)).filter(|v| !fold(v).is_empty()).map(str::to_owned).collect()
    };
    let families = raw(items(asked, "name"), "family");
    let givens: Vec<&str> =
        items(asked, "name").iter().flat_map(|n| items(n, "given")).filter_map(Json::as_str).collect();
    let beginnings = |values: Vec<String>| (!values.is_empty()).then(|| values.join(","));
    let family = beginnings(families.iter().map(|f| first(f, 4)).collect());
    let whole = beginnings(families.iter().filter_map(|f| Some(escape(f.split([' ', '-']).next()?))).collect());
    let given = beginnings(givens.iter().filter(|g| !fold(g).is_empty()).map(|g| first(g, 2)).collect());
    let born = asked.text("birthDate").map(str::to_owned);
    let numbers = numbers(asked).into_iter().map(|(s, v)| format!("{}|{}", escape(s), escape(v))).collect();
    let contacts = raw(items(asked, "telecom"), "value").iter().map(|v| escape(v)).collect();
    let both = |a: &str, x: &Option<String>, b: &str, y: &Option<String>| {
        x.clone().zip(y.clone()).map(|(x, y)| vec![named(a, x), named(b, y)])
    };
    let one = |name: &str, value: Option<String>| value.map(|v| vec![named(name, v)]);
    let blocks = [
        one("identifier", beginnings(numbers)),
        both("birthdate", &born, "family", &family),
        both("birthdate", &born, "given", &given),
        both("family", &whole, "given", &given),
        one("telecom", beginnings(contacts)),
    ];
    blocks.into_iter().flatten().collect()
}

/// Whether an identifier is shared, and in how many systems they differ.
fn identifiers(asked: &Json, there: &Json) -> (bool, i32) {
    let (mine, theirs) = (numbers(asked), numbers(there));
    let systems: BTreeSet<&str> = mine.iter().map(|(system, _)| *system).collect();
    let (mut shared, mut contradicting) = (false, 0);
    for system in systems {
        let known = theirs.iter().any(|(s, _)| *s == system);
        let agrees = mine.iter().any(|number| number.0 == system && theirs.contains(number));
        shared |= agrees;
        contradicting += i32::from(known && !agrees);
    }
    (shared, contradicting)
}

/// System and value of each identifier that has both: a number without a system is anyone's.
fn numbers(patient: &Json) -> BTreeSet<(&str, &str)> {
    items(patient, "identifier").iter().filter_map(|i| i.text("system").zip(i.text("value"))).collect()
}

fn items<'j>(json: &'j Json, name: &str) -> &'j [Json] {
    json.get(name).map_or(&[], Json::items)
}

fn birth_date(asked: &Json, there: &Json) -> Evidence {
    let (Some(a), Some(b)) = (asked.text("birthDate"), there.text("birthDate")) else { return Evidence::Silent };
    if a == b {
        Evidence::Same
    } else if a.starts_with(b) || b.starts_with(a) || swapped(a, b) {
        Evidence::Close
    } else {
        Evidence::Different
    }
}

/// Day and month the other way round.
fn swapped(a: &str, b: &str) -> bool {
    let parts = |text: &'_ str| text.split('-').map(str::to_owned).collect::<Vec<_>>();
    match (parts(a).as_slice(), parts(b).as_slice()) {
        ([y, m, d], [year, month, day]) => y == year && m == day && d == month,
        _ => false,
    }
}

fn family(asked: &Json, there: &Json) -> Evidence {
    let families = |patient: &Json| names(patient, |name| name.text("family").map(plain).into_iter().collect());
    best(&families(asked), &families(there), |a, b| {
        let part = |whole: &str, part: &str| whole.split(' ').any(|word| word == part);
        if a == b {
            Evidence::Same
        } else if part(a, b) || part(b, a) || slip(a, b) {
            Evidence::Close
        } else {
            Evidence::Different
        }
    })
}

fn given(asked: &Json, there: &Json) -> Evidence {
    let words = |name: &Json| items(name, "given").iter().filter_map(Json::as_str).map(plain).collect();
    best(&names(asked, words), &names(there, words), |a, b| {
        if a == b {
            Evidence::Same
        } else if a.starts_with(b) || b.starts_with(a) || slip(a, b) {
            Evidence::Close
        } else {
            Evidence::Different
        }
    })
}

fn gender(asked: &Json, there: &Json) -> Evidence {
    let told = |patient: &Json| patient.text("gender").filter(|g| matches!(*g, "male" | "female")).map(str::to_owned);
    match (told(asked), told(there)) {
        (Some(a), Some(b)) if a == b => Evidence::Same,
        (Some(_), Some(_)) => Evidence::Different,
        _ => Evidence::Silent,
    }
}

fn telecom(asked: &Json, there: &Json) -> Evidence {
    let values = |patient: &Json| -> Vec<String> {
        items(patient, "telecom").iter().filter_map(|t| t.text("value")).map(contact).collect()
    };
    equal(&values(asked), &values(there))
}

fn postal_code(asked: &Json, there: &Json) -> Evidence {
    let codes = |patient: &Json| -> Vec<String> {
        let squeezed = |code: &str| fold(code).replace([' ', '-'], "");
        items(patient, "address").iter().filter_map(|a| a.text("postalCode")).map(squeezed).collect()
    };
    equal(&codes(asked), &codes(there))
}

fn names(patient: &Json, of: impl Fn(&Json) -> Vec<String>) -> Vec<String> {
    let mut found: Vec<String> = items(patient, "name").iter().flat_map(of).collect();
    found.retain(|name| !name.is_empty());
    found
}

/// Folded, with `O'Hara-Smith` as `ohara smith`.
fn plain(name: &str) -> String {
    fold(&name.replace(['\'', '\u{2019}', '.'], "").replace('-', " "))
}

/// The last digits of a number; an address of another kind as it is.
fn contact(value: &str) -> String {
    let folded = fold(value);
    let digits: Vec<char> = folded.chars().filter(char::is_ascii_digit).collect();
    if folded.contains('@') || digits.len() < PHONE_DIGITS {
        return folded;
    }
    digits[digits.len() - PHONE_DIGITS..].iter().collect()
}

/// One letter wrong, missing, or changed with its neighbour.
fn slip(a: &str, b: &str) -> bool {
    a.chars().count().min(b.chars().count()) >= MIN_SLIP && damerau_levenshtein(a, b) == 1
}

fn equal(a: &[String], b: &[String]) -> Evidence {
    best(a, b, |a, b| if a == b { Evidence::Same } else { Evidence::Different })
}

/// The best that any two of the values show: people have several names and numbers.
fn best(a: &[String], b: &[String], compare: impl Fn(&str, &str) -> Evidence) -> Evidence {
    let pairs = a.iter().flat_map(|a| b.iter().map(move |b| (a, b)));
    let found: Vec<Evidence> = pairs.map(|(a, b)| compare(a, b)).collect();
    let order = [Evidence::Same, Evidence::Close, Evidence::Different];
    order.into_iter().find(|e| found.contains(e)).unwrap_or(Evidence::Silent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ADA: &str = r#"{"resourceType":"Patient","identifier":[{"system":"urn:mrn","value":"1"},{"value":"77"}],
        "name":[{"family":"Müller-Brandt","given":["Ada","Luise"]}],"birthDate":"1980-02-09","gender":"female",
        "telecom":[{"system":"phone","value":"+49 30 1234 5678"}],"address":[{"postalCode":"10 115"}]}"#;

    fn json(text: &str) -> Json {
        Json::parse(text.as_bytes()).unwrap()
    }

    /// Ada as others may have written her down.
    fn against(text: &str) -> (u8, Grade) {
        let found = score(&json(&format!("{{\"resourceType\":\"Patient\",{text}}}")), &json(ADA));
        (found.hundredths, found.grade)
    }

    const NAME: &str = r#""name":[{"family":"Muller Brandt","given":["ADA"]}]"#;
    const BORN: &str = r#""birthDate":"1980-02-09""#;

    #[test]
    fn others_are_told_no_more_than_is_compared() {
        let mut ada = Json::parse(ADA.as_bytes()).unwrap();
        let bare = described(&ada);
        assert_eq!(score(&bare, &ada), score(&ada, &ada), "and nothing less");
        ada.set("photo", Json::Array(vec![Json::Null]));
        ada.set("contact", Json::Array(vec![Json::Null]));
        ada.set("address", Json::parse(br#"[{"line":["Secret Lane 1"],"postalCode":"10 115"},{"city":"X"}]"#).unwrap());
        assert_eq!(described(&ada), bare);
    }

    #[test]
    fn the_table_of_pairs() {
        let named = |family: &str, given: &str| format!(r#""name":[{{"family":"{family}","given":["{given}"]}}]"#);
        let mrn = |value: &str| format!(r#""identifier":[{{"system":"urn:mrn","value":"{value}"}}]"#);
        let twin = named("Müller-Brandt", "Bea");
        let all = format!(
            r#"{NAME},{BORN},"gender":"female","telecom":[{{"value":"030 12345678"}}],"address":[{{"postalCode":"10115"}}]"#
        );
        for (text, hundredths, grade) in [
            (mrn("1"), 100, Grade::Certain),
            (format!("{},{NAME}", mrn("1")), 100, Grade::Certain),
            (format!(r#"{},{},"birthDate":"1955-07-01""#, mrn("1"), named("Novak", "Jan")), 80, Grade::Probable),
            (r#""identifier":[{"value":"77"}]"#.to_owned(), 0, Grade::CertainlyNot),
            (r#""identifier":[{"system":"urn:other","value":"1"}]"#.to_owned(), 0, Grade::CertainlyNot),
            (all.clone(), 99, Grade::Probable),
            (format!("{all},{}", mrn("2")), 69, Grade::Possible),
            (format!("{NAME},{BORN}"), 80, Grade::Probable),
            (format!("{NAME},{BORN},{}", mrn("2")), 50, Grade::Possible),
            (format!(r#"{NAME},"birthDate":"1980-09-02""#), 65, Grade::Possible),
            (format!(r#"{NAME},"birthDate":"1980""#), 65, Grade::Possible),
            (format!(r#"{NAME},"birthDate":"1980-02-10""#), 20, Grade::CertainlyNot),
            (NAME.to_owned(), 50, Grade::Possible),
            (format!("{},{BORN}", named("Mueller-Brand", "Ada")), 35, Grade::CertainlyNot),
            (format!("{},{BORN}", named("Muler-Brandt", "Ada")), 70, Grade::Possible),
            (format!("{},{BORN}", named("Brandt", "A")), 62, Grade::Possible),
            (format!("{},{BORN}", named("Müller-Brandt", "Lu")), 72, Grade::Possible),
            (format!("{},{BORN}", named("Müller-Brandt", "Luise")), 80, Grade::Probable),
            (format!("{twin},{BORN}"), 45, Grade::CertainlyNot),
            (format!(r#"{NAME},{BORN},"gender":"male""#), 65, Grade::Possible),
            (BORN.to_owned(), 30, Grade::CertainlyNot),
        ] {
            assert_eq!(against(&text), (hundredths, grade), "{text}");
        }
    }

    #[test]
    fn a_shared_number_beside_a_contradicting_one_is_not_certain() {
        let two = r#""identifier":[{"system":"urn:mrn","value":"1"},{"system":"urn:nhs","value":"5"}]"#;
        let there = json(&ADA.replacen(r#"{"value":"77"}"#, r#"{"system":"urn:nhs","value":"6"}"#, 1));
        let found = score(&json(&format!("{{{two}}}")), &there);
        assert_eq!((found.hundredths, found.grade), (70, Grade::Possible));
    }

    #[test]
    fn blocks_ask_for_what_is_known() {
        let ask = |text: &str| -> Vec<String> {
            let one = |pairs: Vec<(String, String)>| {
                pairs.iter().map(|(n, v)| format!("{n}={v}")).collect::<Vec<_>>().join("&")
            };
            blocks(&json(text)).into_iter().map(one).collect()
        };
        assert_eq!(
            ask(ADA),
            [
                "identifier=urn:mrn|1",
                "birthdate=1980-02-09&family=Müll",
                "birthdate=1980-02-09&given=Ad,Lu",
                "family=Müller&given=Ad,Lu",
                "telecom=+49 30 1234 5678",
            ]
        );
        assert_eq!(ask(r#"{"resourceType":"Patient","gender":"male"}"#), [""; 0]);
    }

    #[test]
    fn the_weights_add_up() {
        assert_eq!(WEIGHTS.iter().map(|w| w.same).sum::<i32>(), 100);
        assert!(WEIGHTS.iter().all(|w| w.same >= w.close && w.close >= 0 && w.different <= 0));
    }

    fn person() -> impl Strategy<Value = String> {
        let names = prop::sample::select(vec!["Ada", "Bea", "A", "Adà", "Jan", ""]);
        let families = prop::sample::select(vec!["Novak", "Novák", "Novka", "Novak-Blau", "Li", ""]);
        let dates = prop::sample::select(vec!["1980-02-09", "1980-09-02", "1980", "1955-07-01"]);
        let numbers = prop::collection::vec(("[ab]", "[12]"), 0..3);
        (names, families, dates, numbers).prop_map(|(given, family, born, numbers)| {
            let one = |(s, v): &(String, String)| format!(r#"{{"system":"urn:{s}","value":"{v}"}}"#);
            let numbers: Vec<String> = numbers.iter().map(one).collect();
            format!(
                r#"{{"name":[{{"family":"{family}","given":["{given}"]}}],"birthDate":"{born}","identifier":[{}]}}"#,
                numbers.join(",")
            )
        })
    }

    proptest! {
        #[test]
        fn who_asks_makes_no_difference_and_a_grade_keeps_to_its_scores(a in person(), b in person()) {
            let (a, b) = (json(&a), json(&b));
            let (there, back) = (score(&a, &b), score(&b, &a));
            prop_assert_eq!(there, back);
            prop_assert_eq!(there.grade == Grade::Certain, there.hundredths == 100);
        }

        #[test]
        fn another_number_in_a_shared_system_never_helps(a in person(), b in person()) {
            let (mut a, mut b) = (json(&a), json(&b));
            let number = |value: &str| Json::Array(vec![json(&format!(r#"{{"system":"urn:z","value":"{value}"}}"#))]);
            a.remove("identifier");
            b.remove("identifier");
            let without = score(&a, &b);
            a.set("identifier", number("1"));
            b.set("identifier", number("2"));
            let with = score(&a, &b);
            prop_assert!(with.hundredths <= without.hundredths && with.grade <= without.grade);
        }
    }
}
