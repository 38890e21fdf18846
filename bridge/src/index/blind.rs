//! From resources and filters to blind tokens: what is stored for a resource, and which stored tokens a filter asks for.
//! A filter's clauses hold for every resource that fits, and for few others; `fhir::search::check` tells exactly. Pure.

mod ask;
mod keep;

use super::cells::End;
use super::tokens::Token;
use crate::fhir::search::table::{Kind, Leaf, Parameter, Path, Step, parameters};
use crate::ids::TypeName;
use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

/// The lengths of the beginnings of a string that are stored, in characters; those that rows are looked up by.
const BEGINNINGS: &[usize] = &[1, 2, 3, 4, 6, 8, 12, 16];
const LOOKED_UP: &[usize] = &[2, 4, 8];

/// What the index stores of a resource: the tokens that rows are looked up by, and a mark for each thing that can be asked.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Blinded {
    /// Sorted, distinct.
    pub lookups: Vec<Token>,
    /// Sorted, distinct; holds the marks of the lookups too.
    pub marks: Vec<Mark>,
}

/// Half a token.
pub type Mark = [u8; 8];

impl Token {
    /// Its mark.
    pub fn mark(self) -> Mark {
        let mut mark = [0; 8];
        mark.copy_from_slice(&self.0[..8]);
        mark
    }
}

/// Marks that are asked for, sorted and each once: what compares them relies on that.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Asked(Vec<Mark>);

impl FromIterator<Mark> for Asked {
    fn from_iter<I: IntoIterator<Item = Mark>>(marks: I) -> Self {
        let mut marks: Vec<Mark> = marks.into_iter().collect();
        marks.sort_unstable();
        marks.dedup();
        Self(marks)
    }
}

impl Asked {
    /// Whether sorted marks have one of them: a chain may ask for thousands, a resource has some dozens.
    fn any_of(&self, marks: &[Mark]) -> bool {
        let (few, many) = if self.0.len() < marks.len() { (&self.0[..], marks) } else { (marks, &self.0[..]) };
        few.iter().any(|mark| many.binary_search(mark).is_ok())
    }
}

/// One condition on the marks of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Clause {
    /// It has one of these marks.
    Any {
        marks: Asked,
        /// Tokens that find every row with one of the marks; none: they cannot be looked up.
        lookups: Option<Vec<Token>>,
    },
    /// It has none of these.
    Lacks(Asked),
}

impl Clause {
    /// One of these marks, which are looked up by these tokens.
    pub fn looked_up(tokens: impl IntoIterator<Item = Token>) -> Self {
        let mut tokens: Vec<Token> = tokens.into_iter().collect();
        tokens.sort_unstable();
        tokens.dedup();
        Self::Any { marks: tokens.iter().map(|token| token.mark()).collect(), lookups: Some(tokens) }
    }

    /// The tokens that find every row for which it holds.
    pub fn into_lookups(self) -> Option<Vec<Token>> {
        if let Self::Any { lookups, .. } = self { lookups } else { None }
    }
}

/// What a filter asks of the index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Clauses {
    pub clauses: Vec<Clause>,
    /// Whatever the clauses let through fits.
    pub exact: bool,
}

impl Clause {
    /// Whether sorted marks fulfil it.
    pub fn holds(&self, marks: &[Mark]) -> bool {
        match self {
            Self::Any { marks: wanted, .. } => wanted.any_of(marks),
            Self::Lacks(unwanted) => !unwanted.any_of(marks),
        }
    }
}

/// An element of a type that is indexed in the manner of a kind of parameter.
#[derive(Debug)]
struct Space {
    path: Path,
    kind: Kind,
    name: String,
}

type Spaces = HashMap<TypeName, Vec<Space>>;
static SPACES: LazyLock<Spaces> = LazyLock::new(|| {
    let types = mappings::r4::model().resource_types();
    types.into_iter().filter_map(TypeName::parse).map(|kind| (kind, spaces(kind))).collect()
});

/// Everything that some parameter of the type looks at, each once: filters are left to the exact test.
fn spaces(kind: TypeName) -> Vec<Space> {
    let mut found = BTreeMap::new();
    for parameter in parameters(kind) {
        for (path, kind) in indexed_paths(parameter) {
            let path = Path { steps: unfiltered(&path.steps), leaf: path.leaf };
            let path = Path {
                leaf: if let Leaf::Reference(_) = path.leaf { Leaf::Reference(None) } else { path.leaf },
                ..path
            };
            let name = space_name(kind, &[], &path.steps);
            found.entry(name.clone()).or_insert(Space { path, kind, name });
        }
    }
    found.into_values().collect()
}

fn indexed_paths(parameter: &Parameter) -> Vec<(Path, Kind)> {
    let Some(composite) = &parameter.composite else {
        return parameter.paths.iter().map(|p| (p.clone(), parameter.kind)).collect();
    };
    let mut paths = Vec::new();
    for component in &composite.components {
        for base in bases(&composite.bases, component.absolute) {
            let joined = |p: &Path| Path { steps: [base, &p.steps].concat(), leaf: p.leaf };
            paths.extend(component.paths.iter().map(|p| (joined(p), component.kind)));
        }
    }
    paths
}

fn bases(bases: &[Vec<Step>], absolute: bool) -> Vec<&[Step]> {
    if absolute { vec![&[]] } else { bases.iter().map(Vec::as_slice).collect() }
}

fn unfiltered(steps: &[Step]) -> Vec<Step> {
    steps.iter().map(|s| Step { filter: None, ..s.clone() }).collect()
}

/// `token name.family`: two parameters that look at the same element in the same manner share tokens.
fn space_name(kind: Kind, base: &[Step], steps: &[Step]) -> String {
    let names: Vec<&str> = base.iter().chain(steps).map(|s| s.name).collect();
    format!("{kind:?} {}", names.join("."))
}

fn end_name(end: End) -> &'static str {
    match end {
        End::Point => "point",
        End::Start => "start",
        End::Finish => "finish",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::search::check::holds;
    use crate::fhir::search::criterion::Surroundings;
    use crate::fhir::search::query;
    use crate::index::tokens::Tokenizer;
    use crate::secret::Key;
    use notary::canonical::Json;
    use proptest::prelude::*;

    const BASE: &str = "http://here/fhir";
    const AROUND: Surroundings<'static> = Surroundings { base: BASE, now: 1_700_000_000_000_000, labels: None };

    fn tokenizer() -> Tokenizer {
        Tokenizer::new(&Key::new([7; 32]))
    }

    fn kind() -> TypeName {
        TypeName::parse("Observation").unwrap()
    }

    /// Few values, so that random queries hit.
    fn resources() -> impl Strategy<Value = String> {
        let one_of = |list: &'static [&'static str]| prop::sample::select(list.to_vec());
        let code = one_of(&[
            r#"{"coding":[{"system":"s","code":"a"},{"system":"t","code":"b"}]}"#,
            r#"{"coding":[{"code":"a"}],"text":"Blood Pressure"}"#,
            r#"{"coding":[{"system":"s","code":"c"}]}"#,
            r#"{"text":"only a text"}"#,
        ]);
        let subject = one_of(&[
            r#","subject":{"reference":"Patient/1"}"#,
            r#","subject":{"reference":"http://here/fhir/Patient/2/_history/3"}"#,
            r#","subject":{"reference":"Group/1"}"#,
            r#","subject":{"identifier":{"system":"i","value":"9"}}"#,
            r#","subject":{"reference":"http://there/Patient/1"}"#,
            "",
        ]);
        let when = one_of(&[
            r#","effectiveDateTime":"2020-05-17""#,
            r#","effectiveDateTime":"2020-05-17T23:30:00-02:00""#,
            r#","effectiveDateTime":"2020""#,
            r#","effectivePeriod":{"start":"2020-05-01","end":"2020-06-30"}"#,
            r#","effectivePeriod":{"start":"2019-12-31T12:00:00Z"}"#,
            r#","effectivePeriod":{"end":"1820-01-01"}"#,
            "",
        ]);
        let value = one_of(&[
            r#","valueQuantity":{"value":5.40,"system":"u","code":"mg","unit":"mg"}"#,
            r#","valueQuantity":{"value":-120,"unit":"mg"}"#,
            r#","valueQuantity":{"value":0,"comparator":"<"}"#,
            r#","valueString":"Über the Moon and far beyond all of the other places that were ever named in a single string""#,
            r#","valueString":"under""#,
            r#","valueCodeableConcept":{"text":"Overt"}"#,
            r#","component":[{"code":{"coding":[{"code":"a"}]},"valueQuantity":{"value":5.4}},{"code":{"coding":[{"code":"d"}]},"valueQuantity":{"value":99.6}}]"#,
            "",
        ]);
        (code, subject, when, value).prop_map(|(code, subject, when, value)| {
            format!(
                r#"{{"resourceType":"Observation","id":"x","meta":{{"lastUpdated":"2024-01-01T00:00:00Z","tag":[{{"code":"q"}}]}},"code":{code}{subject}{when}{value}}}"#
            )
        })
    }

    fn queries() -> impl Strategy<Value = (&'static str, String)> {
        let name = prop::sample::select(vec![
            ("code", &["a", "s|a", "|a", "s|", "c,b", "t|a", "zz"][..]),
            ("code:not", &["a", "s|c"]),
            ("code:missing", &["true", "false"]),
            ("subject", &["Patient/1", "1", "Patient/2", "http://there/Patient/1", "Group/1,Patient/2"]),
            ("patient", &["1", "Patient/2", "3"]),
            ("patient:missing", &["true", "false"]),
            ("subject:missing", &["true", "false"]),
            ("subject:identifier", &["i|9", "9", "|9", "j|"]),
            ("subject:Group", &["1", "2"]),
            (
                "date",
                &[
                    "2020-05-17",
                    "2020-05-18",
                    "ge2020-05-18",
                    "lt2020-05",
                    "ne2020",
                    "sa2019",
                    "eb2021",
                    "ap2020-05-17",
                    "le1900",
                    "gt2020-06-30",
                    "2020",
                ],
            ),
            ("value-quantity", &["5.4", "5.40", "gt5", "le-100||mg", "5.4|u|mg", "5.4||kg", "ap5", "-120", "0", "ne5"]),
            ("combo-value-quantity", &["5.4", "100", "99.6"]),
            ("value-string", &["uber", "UNDER", "u", "ov", "x"]),
            ("value-string:contains", &["oon", "single string", "nd", "ver", "zzz"]),
            ("value-string:exact", &["under", "Under"]),
            ("combo-code", &["d", "a"]),
            ("component-code-value-quantity", &["a$5.4", "a$99.6", "d$gt50"]),
            ("code-value-quantity", &["s|a$5.4", "a$lt0"]),
            ("code-value-string", &["a$und"]),
            ("_tag", &["q", "r"]),
        ]);
        (name, any::<prop::sample::Index>()).prop_map(|((name, values), at)| (name, at.get(values).to_string()))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 1_000, ..ProptestConfig::default() })]
        #[test]
        fn what_fits_is_let_through_and_what_is_told_exactly_is_exact(resource in resources(), (name, value) in queries()) {
            let json = Json::parse(resource.as_bytes()).unwrap();
            let filter = query::filter(kind(), name, &value, &AROUND, 0).unwrap().unwrap();
            let (tokens, fits) = (tokenizer(), holds(&filter, &json, &AROUND));
            let blinded = tokens.blind(kind(), &json, BASE);
            let asked = tokens.clauses(kind(), &filter, AROUND.now);
            let let_through = asked.clauses.iter().all(|c| c.holds(&blinded.marks));
            prop_assert!(let_through || !fits, "{name}={value} is lost");
            prop_assert!(!asked.exact || let_through == fits, "{name}={value} is not told exactly");
            for clause in &asked.clauses {
                let Clause::Any { lookups: Some(lookups), .. } = clause else { continue };
                let found = lookups.iter().any(|t| blinded.lookups.contains(t));
                prop_assert!(found || !clause.holds(&blinded.marks), "{name}={value} is not looked up");
            }
        }
    }

    #[test]
    fn one_of_many_is_found_in_whatever_order_they_are_asked_for() {
        let token = |n: u64| Token([n.to_be_bytes(), [0; 8]].concat().try_into().unwrap());
        let clause = Clause::looked_up((0..500).map(|n| token(n * 7_919 % 500)));
        for n in 0..500 {
            assert!(clause.holds(&[token(n).mark(), token(900).mark()]), "{n}");
        }
        assert!(!clause.holds(&[token(501).mark()]));
    }

    #[test]
    fn marks_tell_few_wrong_ones() {
        let json = |text: &str| Json::parse(text.as_bytes()).unwrap();
        let tokens = tokenizer();
        let resource = json(r#"{"resourceType":"Observation","code":{"coding":[{"system":"s","code":"a"}]}}"#);
        let blinded = tokens.blind(kind(), &resource, BASE);
        for (name, value) in [("code", "t|a"), ("code", "b"), ("date", "2020"), ("subject", "Patient/1")] {
            let filter = query::filter(kind(), name, value, &AROUND, 0).unwrap().unwrap();
            let asked = tokens.clauses(kind(), &filter, 0);
            assert!(!asked.clauses.iter().all(|c| c.holds(&blinded.marks)), "{name}={value}");
        }
        assert!(blinded.marks.len() > blinded.lookups.len());
    }
}
