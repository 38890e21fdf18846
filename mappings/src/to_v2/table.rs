//! The forward tables turned round. Several v2 codes may become one FHIR code: the preferred one comes back, which is
//! the first row of the table unless `to_v2/tables/` says otherwise.

use crate::map_file::{TableFile, TableRow};
use crate::r4::is_oid;
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashMap};

const V2_SYSTEM: &str = "http://terminology.hl7.org/CodeSystem/v2-";
const OID: &str = "urn:oid:";

/// A table, to be read from FHIR to v2.
#[derive(Debug)]
pub(crate) struct Table {
    pub name: String,
    rows: Vec<TableRow>,
    by_code: HashMap<String, Vec<usize>>,
    by_v2: HashMap<String, Vec<usize>>,
    prefer: BTreeMap<String, String>,
}

/// A concept or coding with its v2 coding first, and where each coding of it was taken from.
#[derive(Debug)]
pub(crate) struct Arranged<'i> {
    pub value: Value,
    /// The number of a coding in `value`, and the coding that it is.
    pub taken: Vec<(usize, &'i Value)>,
    /// Codings that the forward table has made of another one: they say nothing of their own.
    pub derived: Vec<&'i Value>,
    /// No coding has a row in the table.
    pub no_row: bool,
}

impl Table {
    pub fn new(file: TableFile, prefer: BTreeMap<String, String>) -> Self {
        let mut table =
            Self { name: file.table, rows: file.rows, by_code: HashMap::new(), by_v2: HashMap::new(), prefer };
        for (n, row) in table.rows.iter().enumerate() {
            table.by_code.entry(row.to.clone()).or_default().push(n);
            table.by_v2.entry(row.from.clone()).or_default().push(n);
        }
        table
    }

    /// A preferred code that no row makes a FHIR code of; the map is at fault.
    pub fn odd_preference(&self) -> Option<&str> {
        let has = |code: &str, v2: &str| self.rows.iter().any(|row| row.to == code && row.from == v2);
        self.prefer.iter().find(|(code, v2)| !has(code, v2)).map(|(code, _)| code.as_str())
    }

    /// The v2 code of a FHIR code. The name of a coding system may follow from its URI alone, as forward.
    pub fn v2(&self, code: &str, system: Option<&str>) -> Option<String> {
        let known = |n: &&usize| match (&self.rows[**n].system, system) {
            (Some(row), Some(asked)) => row == asked,
            _ => true,
        };
        let mut rows = self.by_code.get(code).into_iter().flatten().filter(known).map(|n| &self.rows[*n]);
        let preferred = self.prefer.get(code).and_then(|p| rows.clone().find(|row| row.from == *p));
        match preferred.or_else(|| rows.next()) {
            Some(row) => Some(row.from.clone()),
            None if self.name == "CodingSystem" => system_name(code),
            None => None,
        }
    }

    /// Whether the forward table made this coding of one of the others.
    fn derived(&self, coding: &Value, others: &[&Value]) -> bool {
        let makes = |row: &TableRow| {
            Some(row.to.as_str()) == text(coding, "code") && row.system.as_deref() == text(coding, "system")
        };
        others
            .iter()
            .filter(|other| !same_code(other, coding))
            .filter_map(|other| text(other, "code"))
            .any(|v2| self.by_v2.get(v2).into_iter().flatten().any(|n| makes(&self.rows[*n])))
    }

    /// A CodeableConcept as its sender had it: codings that the forward table made are left out, and where there is no
    /// v2 coding one is put in front.
    pub fn arrange<'i>(&self, concept: &'i Value) -> Arranged<'i> {
        let all: Vec<&'i Value> = concept.get("coding").and_then(Value::as_array).into_iter().flatten().collect();
        let (derived, own): (Vec<&'i Value>, Vec<&'i Value>) = all.iter().partition(|c| self.derived(c, &all));
        let v2 = own.iter().find_map(|c| Some((self.v2(text(c, "code")?, text(c, "system"))?, *c)));
        let front = v2.as_ref().filter(|(v2, coding)| derived.is_empty() && !is_v2(coding, v2));
        let mut codings: Vec<Value> = front.iter().map(|(v2, _)| json!({"code": v2})).collect();
        let taken = own.iter().enumerate().map(|(n, coding)| (n + codings.len(), *coding)).collect();
        codings.extend(own.iter().copied().cloned());
        let mut value: Map<String, Value> = concept.as_object().cloned().unwrap_or_default();
        value.insert("coding".into(), Value::Array(codings));
        let no_row = v2.is_none() && derived.is_empty() && !own.is_empty();
        Arranged { value: Value::Object(value), taken, derived, no_row }
    }

    /// A Coding with its v2 code; the display is FHIR's, so it stays behind.
    pub fn arrange_coding<'i>(&self, coding: &'i Value) -> Arranged<'i> {
        let v2 = text(coding, "code").and_then(|code| self.v2(code, text(coding, "system")));
        let kept = v2.as_deref().is_none_or(|v2| is_v2(coding, v2));
        let value = if kept { coding.clone() } else { json!({"code": v2}) };
        Arranged { value, taken: vec![(0, coding)], derived: Vec::new(), no_row: v2.is_none() }
    }
}

fn text<'v>(value: &'v Value, name: &str) -> Option<&'v str> {
    value.get(name)?.as_str()
}

fn same_code(one: &Value, other: &Value) -> bool {
    text(one, "code") == text(other, "code") && text(one, "system") == text(other, "system")
}

/// Whether a coding is the v2 code already: it is of a v2 table, or of no system at all.
fn is_v2(coding: &Value, v2: &str) -> bool {
    text(coding, "code") == Some(v2) && text(coding, "system").is_none_or(|s| s.starts_with(V2_SYSTEM))
}

/// `HL70203` of a v2 table's URI, the number itself of an OID.
fn system_name(uri: &str) -> Option<String> {
    let number = uri.strip_prefix(V2_SYSTEM).filter(|n| n.len() == 4 && n.bytes().all(|b| b.is_ascii_digit()));
    let oid = uri.strip_prefix(OID).filter(|oid| is_oid(oid));
    number.map(|n| format!("HL7{n}")).or_else(|| oid.map(str::to_owned))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(name: &str, rows: &[(&str, &str, &str)], prefer: &[(&str, &str)]) -> Table {
        let row = |(from, to, system): &(&str, &str, &str)| json!({"from": from, "to": to, "system": system});
        let rows: Vec<Value> = rows.iter().map(row).collect();
        let file = serde_json::from_value(json!({"table": name, "rows": rows})).unwrap();
        Table::new(file, prefer.iter().map(|(a, b)| ((*a).to_owned(), (*b).to_owned())).collect())
    }

    #[test]
    fn of_several_v2_codes_the_preferred_one_comes_back() {
        let rows = [("A", "other", "s"), ("O", "other", "s"), ("F", "female", "s")];
        assert_eq!(table("T", &rows, &[]).v2("other", None).as_deref(), Some("A"), "the first row");
        assert_eq!(table("T", &rows, &[("other", "O")]).v2("other", Some("s")).as_deref(), Some("O"));
        assert_eq!(table("T", &rows, &[]).v2("other", Some("x")), None, "a code of another system is another code");
        assert_eq!(table("T", &rows, &[("other", "X")]).odd_preference(), Some("other"));
    }

    #[test]
    fn systems_have_names() {
        let systems = table("CodingSystem", &[("LN", "http://loinc.org", "")], &[]);
        for (uri, name) in [
            ("http://loinc.org", Some("LN")),
            ("http://terminology.hl7.org/CodeSystem/v2-0203", Some("HL70203")),
            ("urn:oid:1.2.840", Some("1.2.840")),
            ("http://other.example", None),
        ] {
            assert_eq!(systems.v2(uri, None).as_deref(), name, "{uri}");
        }
    }

    #[test]
    fn a_concept_is_as_its_sender_had_it() {
        let marital = table("MaritalStatus", &[("A", "L", "v3"), ("M", "M", "v3")], &[]);
        let arranged =
            |codings: Value| marital.arrange(&json!({"coding": codings, "text": "t"})).value["coding"].clone();
        let (made, own) = (json!({"code": "M", "system": "v3"}), json!({"code": "M", "display": "Married"}));
        assert_eq!(arranged(json!([made, own])), json!([own]), "what the table made is left out");
        let foreign = json!({"code": "L", "system": "v3", "display": "Legally Separated"});
        assert_eq!(arranged(json!([foreign])), json!([{"code": "A"}, foreign]), "v2's code comes first");
        let unknown = json!({"code": "X", "system": "v3"});
        assert_eq!(arranged(json!([unknown])), json!([unknown]));
    }
}
