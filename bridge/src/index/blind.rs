//! From resources and filters to blind tokens: what is stored for a resource, and which stored tokens a filter asks for.
//! A filter's clauses hold for every resource that fits, and for few others; `fhir::search::check` tells exactly. Pure.

use super::cells::{self, Cell, End};
use super::tokens::{Token, Tokenizer};
use crate::fhir::search::criterion::{Criterion, System, Target, TextMatch, normal};
use crate::fhir::search::query::Filter;
use crate::fhir::search::table::{Kind, Leaf, Parameter, Path, Step, parameters};
use crate::fhir::search::text::fold;
use crate::fhir::search::value::{Value, values};
use crate::ids::TypeName;
use notary::canonical::Json;
use std::collections::{BTreeMap, HashMap};
use std::sync::LazyLock;

/// The lengths of the beginnings of a string that are stored, in characters; those that rows are looked up by.
const BEGINNINGS: &[usize] = &[1, 2, 3, 4, 6, 8, 12, 16];
const LOOKED_UP: &[usize] = &[2, 4, 8];
/// Longer strings are not cut into trigrams: `:contains` looks at all of them.
const MAX_TRIGRAM_TEXT: usize = 64;
/// The trigrams of a `:contains` that are asked for: a few narrow enough.
const MAX_TRIGRAMS: usize = 6;
/// More cells than these are not looked up: reading the type's rows one by one is faster.
const MAX_LOOKUPS: usize = 64;

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

/// One condition on the marks of a resource.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Clause {
    /// It has one of these marks.
    Any {
        marks: Vec<Mark>,
        /// Tokens that find every row with one of the marks; none: they cannot be looked up.
        lookups: Option<Vec<Token>>,
    },
    /// It has none of these.
    Lacks(Vec<Mark>),
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
        let has = |mark: &Mark| marks.binary_search(mark).is_ok();
        match self {
            Self::Any { marks, .. } => marks.iter().any(has),
            Self::Lacks(marks) => !marks.iter().any(has),
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

/// Makes the tokens of one element.
struct Maker<'t> {
    tokens: &'t Tokenizer,
    kind: TypeName,
    space: &'t str,
    out: Blinded,
}

impl Maker<'_> {
    fn token(&self, parts: &[&str]) -> Token {
        let mut whole = vec![self.kind.as_str(), self.space];
        whole.extend(parts);
        self.tokens.token(&whole)
    }

    fn look_up(&mut self, parts: &[&str]) {
        let token = self.token(parts);
        self.out.lookups.push(token);
        self.out.marks.push(token.mark());
    }

    fn mark(&mut self, parts: &[&str]) {
        let mark = self.token(parts).mark();
        self.out.marks.push(mark);
    }

    fn value(&mut self, kind: Kind, value: &Value<'_>, base: &str) {
        match (kind, value) {
            (_, Value::Token { system, code }) => self.pair(*system, *code),
            (Kind::Token, Value::Text(text) | Value::Uri(text)) => self.pair(None, Some(text)),
            (_, Value::Text(text)) => self.text(text),
            (_, Value::Span(span)) => cells::of_span(*span).into_iter().for_each(|(end, cell)| self.cell(end, cell)),
            (_, Value::Number(number) | Value::Quantity { number, .. }) => match cells::of_number(*number) {
                Some(digits) => self.mark(&["digits", &digits.name()]),
                None => self.mark(&["range"]),
            },
            (Kind::Uri, Value::Uri(uri)) => self.look_up(&["url", unversioned(uri)]),
            (_, Value::Uri(uri)) => self.refer(uri, base),
            (_, Value::Reference { literal, identifier }) => {
                if let Some(literal) = literal {
                    self.refer(literal, base);
                }
                if let Some(value) = identifier.and_then(|i| i.text("value")) {
                    self.look_up(&["identifier", value]);
                }
            }
            (_, Value::Entry { kind, id }) => self.look_up(&["local", &format!("{kind}/{id}")]),
            (_, Value::Present) => {}
        }
    }

    fn pair(&mut self, system: Option<&str>, code: Option<&str>) {
        if let Some(code) = code {
            self.look_up(&["code", code]);
            self.mark(&["pair", system.unwrap_or(""), code]);
        }
        if let Some(system) = system {
            self.mark(&["system", system]);
        }
    }

    fn text(&mut self, text: &str) {
        let folded: Vec<char> = fold(text).chars().collect();
        for length in BEGINNINGS.iter().filter(|l| **l <= folded.len()) {
            let beginning: String = folded[..*length].iter().collect();
            let parts = ["starts", &length.to_string(), &beginning];
            if LOOKED_UP.contains(length) { self.look_up(&parts) } else { self.mark(&parts) }
        }
        if folded.len() > MAX_TRIGRAM_TEXT {
            return self.look_up(&["long"]);
        }
        for trigram in folded.windows(3) {
            self.look_up(&["trigram", &trigram.iter().collect::<String>()]);
        }
    }

    fn cell(&mut self, end: End, cell: Cell) {
        let parts = [end_name(end), &cell.name()];
        let looked_up = end != End::Finish && matches!(cell, Cell::Day(_) | Cell::Month(_));
        if looked_up { self.look_up(&parts) } else { self.mark(&parts) }
    }

    fn refer(&mut self, literal: &str, base: &str) {
        self.look_up(&["local", unversioned(normal(literal, base))]);
    }
}

fn end_name(end: End) -> &'static str {
    match end {
        End::Point => "point",
        End::Start => "start",
        End::Finish => "finish",
    }
}

/// `http://x|2` without its version.
fn unversioned(url: &str) -> &str {
    url.split('|').next().unwrap_or(url)
}

impl Tokenizer {
    /// What the index stores of a resource. References that begin with `base` are this server's own.
    pub fn blind(&self, kind: TypeName, resource: &Json, base: &str) -> Blinded {
        let mut all = Blinded::default();
        for space in SPACES.get(&kind).map_or(&[][..], Vec::as_slice) {
            let found = values(resource, &space.path);
            if found.is_empty() {
                continue;
            }
            let mut maker = Maker { tokens: self, kind, space: &space.name, out: std::mem::take(&mut all) };
            maker.mark(&["present"]);
            found.iter().for_each(|value| maker.value(space.kind, value, base));
            all = maker.out;
        }
        all.lookups.sort_unstable();
        all.lookups.dedup();
        all.marks.sort_unstable();
        all.marks.dedup();
        all
    }

    /// What a filter asks of the index. Ids, times of change and chains are not asked of tokens.
    pub fn clauses(&self, kind: TypeName, filter: &Filter, now: i64) -> Clauses {
        let asking = Asking { tokens: self, kind, now };
        match filter {
            Filter::Ids(_) | Filter::Updated(_) => Clauses { clauses: Vec::new(), exact: true },
            Filter::Missing { parameter, missing } => asking.missing(parameter, *missing),
            Filter::Values { parameter, negated: false, alternatives } => asking.values(parameter, alternatives),
            _ => Clauses { clauses: Vec::new(), exact: false },
        }
    }
}

/// Makes the tokens that filters ask for.
struct Asking<'t> {
    tokens: &'t Tokenizer,
    kind: TypeName,
    now: i64,
}

/// What one alternative asks for in one space.
struct Wanted {
    marks: Vec<Token>,
    lookups: Option<Vec<Token>>,
    exact: bool,
}

impl Wanted {
    /// Marks that can be looked up too.
    fn found(tokens: Vec<Token>, exact: bool) -> Self {
        Self { lookups: Some(tokens.clone()), marks: tokens, exact }
    }
}

impl Asking<'_> {
    fn token(&self, space: &str, parts: &[&str]) -> Token {
        let mut whole = vec![self.kind.as_str(), space];
        whole.extend(parts);
        self.tokens.token(&whole)
    }

    fn missing(&self, parameter: &Parameter, missing: bool) -> Clauses {
        let spaces = parameter.paths.iter().map(|p| space_name(parameter.kind, &[], &p.steps));
        let marks = spaces.map(|space| self.token(&space, &["present"]).mark()).collect();
        let exact = parameter.paths.iter().all(|p| is_plain(p) && !matches!(p.leaf, Leaf::Reference(Some(_))));
        let clause = match (missing, exact) {
            (false, _) => Some(Clause::Any { marks, lookups: None }),
            (true, true) => Some(Clause::Lacks(marks)),
            // Something else at the same path may be there: only the exact test can tell.
            (true, false) => None,
        };
        Clauses { clauses: clause.into_iter().collect(), exact }
    }

    fn values(&self, parameter: &Parameter, alternatives: &[Criterion]) -> Clauses {
        if let Some(composite) = &parameter.composite {
            let clauses = composite.components.iter().enumerate().flat_map(|(n, component)| {
                let part =
                    |c: &Criterion| if let Criterion::Composite(parts) = c { parts.get(n).cloned() } else { None };
                let parts: Vec<Criterion> = alternatives.iter().filter_map(part).collect();
                let spaces: Vec<String> = bases(&composite.bases, component.absolute)
                    .into_iter()
                    .flat_map(|base| component.paths.iter().map(|p| space_name(component.kind, base, &p.steps)))
                    .collect();
                self.any(&spaces, &parts).clauses
            });
            return Clauses { clauses: clauses.collect(), exact: false };
        }
        let spaces: Vec<String> = parameter.paths.iter().map(|p| space_name(parameter.kind, &[], &p.steps)).collect();
        let mut asked = self.any(&spaces, alternatives);
        asked.exact &= parameter.paths.iter().all(is_plain);
        asked
    }

    /// One of the alternatives in one of the spaces.
    fn any(&self, spaces: &[String], alternatives: &[Criterion]) -> Clauses {
        if let [Criterion::Text { folded, how: TextMatch::Contains, .. }] = alternatives {
            return self.contains(spaces, folded);
        }
        let (mut marks, mut lookups, mut exact) = (Vec::new(), Some(Vec::new()), true);
        for criterion in alternatives {
            for space in spaces {
                let wanted = self.wanted(space, criterion);
                marks.extend(wanted.marks.iter().map(|t| t.mark()));
                lookups = lookups.zip(wanted.lookups).map(|(a, b)| [a, b].concat());
                exact &= wanted.exact;
            }
        }
        let lookups = lookups.filter(|tokens| tokens.len() <= MAX_LOOKUPS.max(alternatives.len() * spaces.len()));
        Clauses { clauses: vec![Clause::Any { marks, lookups }], exact }
    }

    fn wanted(&self, space: &str, criterion: &Criterion) -> Wanted {
        let one = |parts: &[&str]| self.token(space, parts);
        match criterion {
            Criterion::Token(token) => match (&token.system, &token.code) {
                (System::Any, Some(code)) => Wanted::found(vec![one(&["code", code])], true),
                (system, Some(code)) => {
                    let system = if let System::Is(system) = system { system } else { "" };
                    let lookups = Some(vec![one(&["code", code])]);
                    Wanted { marks: vec![one(&["pair", system, code])], lookups, exact: true }
                }
                (System::Is(system), None) => {
                    Wanted { marks: vec![one(&["system", system])], lookups: None, exact: true }
                }
                (_, None) => self.present(space),
            },
            Criterion::Text { folded, how, .. } => self.begins(space, folded, *how),
            Criterion::Date(prefix, span) => match cells::of_range(*prefix, *span, self.now) {
                Some(cells) => self.in_cells(space, &cells),
                None => self.present(space),
            },
            Criterion::Number(prefix, asked) | Criterion::Quantity { prefix, asked, .. } => {
                let Some(cells) = cells::of_numbers(*prefix, asked) else { return self.present(space) };
                let mut marks: Vec<Token> = cells.iter().map(|c| one(&["digits", &c.name()])).collect();
                marks.push(one(&["range"]));
                Wanted { marks, lookups: None, exact: false }
            }
            Criterion::Uri(uri) => Wanted::found(vec![one(&["url", unversioned(uri)])], !uri.contains('|')),
            Criterion::Reference(Target::Local(names)) => {
                Wanted::found(names.iter().map(|n| one(&["local", &n.to_string()])).collect(), true)
            }
            Criterion::Reference(Target::Url(url)) => {
                Wanted::found(vec![one(&["local", unversioned(normal(url, ""))])], false)
            }
            Criterion::Identifier(token) => match &token.code {
                Some(value) => Wanted::found(vec![one(&["identifier", value])], false),
                None => self.present(space),
            },
            Criterion::Composite(_) => self.present(space),
        }
    }

    fn present(&self, space: &str) -> Wanted {
        Wanted { marks: vec![self.token(space, &["present"])], lookups: None, exact: false }
    }

    fn begins(&self, space: &str, folded: &str, how: TextMatch) -> Wanted {
        let chars: Vec<char> = folded.chars().collect();
        let longest = |lengths: &[usize]| lengths.iter().copied().filter(|l| *l <= chars.len()).max();
        let token = |length: usize| {
            self.token(space, &["starts", &length.to_string(), &chars[..length].iter().collect::<String>()])
        };
        if how == TextMatch::Contains {
            return self.present(space);
        }
        let Some(length) = longest(BEGINNINGS) else { return self.present(space) };
        let lookups = longest(LOOKED_UP).map(|l| vec![token(l)]);
        Wanted { marks: vec![token(length)], lookups, exact: how == TextMatch::Starts && length == chars.len() }
    }

    /// Some of the trigrams of the text, each in some space.
    fn contains(&self, spaces: &[String], folded: &str) -> Clauses {
        let chars: Vec<char> = folded.chars().collect();
        let clause = |trigram: &[char]| {
            let text: String = trigram.iter().collect();
            let of = |space: &String| [self.token(space, &["trigram", &text]), self.token(space, &["long"])];
            let tokens: Vec<Token> = spaces.iter().flat_map(of).collect();
            Clause::Any { marks: tokens.iter().map(|t| t.mark()).collect(), lookups: Some(tokens) }
        };
        let step = (chars.len() / MAX_TRIGRAMS).max(1);
        let clauses: Vec<Clause> = chars.windows(3).step_by(step).map(clause).collect();
        if clauses.is_empty() {
            let marks = spaces.iter().map(|space| self.token(space, &["present"]).mark()).collect();
            return Clauses { clauses: vec![Clause::Any { marks, lookups: None }], exact: false };
        }
        Clauses { clauses, exact: false }
    }

    fn in_cells(&self, space: &str, found: &[(End, Cell)]) -> Wanted {
        let token = |(end, cell): &(End, Cell)| self.token(space, &[end_name(*end), &cell.name()]);
        let marks = found.iter().map(token).collect();
        Wanted { marks, lookups: looked_up(found).map(|cells| cells.iter().map(token).collect()), exact: false }
    }
}

/// The cells as days and months, which rows are looked up by; none: there are others among them.
fn looked_up(cells: &[(End, Cell)]) -> Option<Vec<(End, Cell)>> {
    let mut out = Vec::new();
    for (end, cell) in cells {
        match (end, cell) {
            (End::Finish, _) | (_, Cell::Open) => return None,
            (_, Cell::Year(year)) if !cells::has_months(*year) => return None,
            (_, Cell::Year(year)) => out.extend((0..12).map(|m| (*end, Cell::Month(i32::from(*year) * 12 + m)))),
            _ => out.push((*end, *cell)),
        }
    }
    (out.len() <= MAX_LOOKUPS).then_some(out)
}

/// Whether the space of a path holds nothing beside what the path leads to.
fn is_plain(path: &Path) -> bool {
    path.steps.iter().all(|s| s.filter.is_none())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fhir::search::check::holds;
    use crate::fhir::search::criterion::Surroundings;
    use crate::fhir::search::query;
    use crate::secret::Key;
    use proptest::prelude::*;

    const BASE: &str = "http://here/fhir";
    const AROUND: Surroundings<'static> = Surroundings { base: BASE, now: 1_700_000_000_000_000 };

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
