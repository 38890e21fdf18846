//! What a filter asks of the index.

use super::{BEGINNINGS, Clause, Clauses, LOOKED_UP, bases, end_name, space_name};
use crate::fhir::search::criterion::{Criterion, System, Target, TextMatch, normal, unversioned};
use crate::fhir::search::query::Filter;
use crate::fhir::search::table::{Leaf, Parameter, Path};
use crate::ids::TypeName;
use crate::index::cells::{self, Cell, End};
use crate::index::tokens::{Token, Tokenizer};

/// The trigrams of a `:contains` that are asked for: a few narrow enough.
const MAX_TRIGRAMS: usize = 6;
/// More cells than these are not looked up: reading the type's rows one by one is faster.
const MAX_LOOKUPS: usize = 64;

impl Tokenizer {
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
                marks.extend(wanted.marks);
                lookups = lookups.zip(wanted.lookups).map(|(a, b)| [a, b].concat());
                exact &= wanted.exact;
            }
        }
        Clauses { clauses: vec![Clause::Any { marks: marks.into_iter().map(Token::mark).collect(), lookups }], exact }
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
            Clause::looked_up(tokens)
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
