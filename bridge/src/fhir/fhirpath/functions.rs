//! The functions. Each takes the collection that it is called on; its arguments see the items of that.

use super::eval::{distinct, eval, number, one_text, same, text, truth};
use super::node::{Item, Node};
use super::{Expr, Scope};
use notary::canonical::Json;
use std::borrow::Cow;

/// What can be called, beside the type functions and those with a regular expression.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Function {
    All,
    AllTrue,
    Children,
    Combine,
    Contains,
    Count,
    Descendants,
    Distinct,
    Empty,
    EndsWith,
    Exists,
    Extension,
    First,
    HasValue,
    Iif,
    Intersect,
    IsDistinct,
    Last,
    Length,
    Lower,
    Not,
    Repeat,
    Resolve,
    Select,
    StartsWith,
    Substring,
    Tail,
    ToInteger,
    ToText,
    Trace,
    Union,
    Where,
}

/// Name, fewest and most arguments.
const NAMES: &[(&str, usize, usize, Function)] = &[
    ("all", 1, 1, Function::All),
    ("allTrue", 0, 0, Function::AllTrue),
    ("children", 0, 0, Function::Children),
    ("combine", 1, 1, Function::Combine),
    ("contains", 1, 1, Function::Contains),
    ("count", 0, 0, Function::Count),
    ("descendants", 0, 0, Function::Descendants),
    ("distinct", 0, 0, Function::Distinct),
    ("empty", 0, 0, Function::Empty),
    ("endsWith", 1, 1, Function::EndsWith),
    ("exists", 0, 1, Function::Exists),
    ("extension", 1, 1, Function::Extension),
    ("first", 0, 0, Function::First),
    ("hasValue", 0, 0, Function::HasValue),
    ("iif", 2, 3, Function::Iif),
    ("intersect", 1, 1, Function::Intersect),
    ("isDistinct", 0, 0, Function::IsDistinct),
    ("last", 0, 0, Function::Last),
    ("length", 0, 0, Function::Length),
    ("lower", 0, 0, Function::Lower),
    ("not", 0, 0, Function::Not),
    ("repeat", 1, 1, Function::Repeat),
    ("resolve", 0, 0, Function::Resolve),
    ("select", 1, 1, Function::Select),
    ("startsWith", 1, 1, Function::StartsWith),
    ("substring", 1, 2, Function::Substring),
    ("tail", 0, 0, Function::Tail),
    ("toInteger", 0, 0, Function::ToInteger),
    ("toString", 0, 0, Function::ToText),
    ("trace", 1, 2, Function::Trace),
    ("union", 1, 1, Function::Union),
    ("where", 1, 1, Function::Where),
];
/// The most that `repeat` gathers: a loop in an expression must end.
const MAX_REPEAT: usize = 100_000;

impl Function {
    /// The function of that name, if it takes so many arguments.
    pub fn named(name: &str, arguments: usize) -> Option<Self> {
        let found = NAMES.iter().find(|(n, ..)| *n == name)?;
        (found.1..=found.2).contains(&arguments).then_some(found.3)
    }
}

type Items<'a> = Vec<Item<'a>>;

/// Calls one.
pub(super) fn call<'a>(
    function: Function,
    items: Items<'a>,
    arguments: &'a [Expr],
    this: &[Item<'a>],
    scope: &Scope<'a>,
) -> Option<Items<'a>> {
    let Some(argument) = arguments.first() else { return plain(function, items, scope) };
    match function {
        Function::Trace => Some(items),
        Function::Iif => iif(&items, arguments, scope),
        Function::Where | Function::Exists | Function::All => with_criterion(function, items, argument, scope),
        Function::Select => each(&items, argument, scope),
        Function::Repeat => repeat(items, argument, scope),
        Function::Extension => Some(extensions(&items, &one_text(&eval(argument, this, scope)?)??)),
        Function::Combine | Function::Union | Function::Intersect => {
            let other = eval(argument, this, scope)?;
            sets(function, items, other, scope)
        }
        _ => texts(function, &items, arguments, this, scope),
    }
}

fn plain<'a>(function: Function, items: Items<'a>, scope: &Scope<'a>) -> Option<Items<'a>> {
    let yes = |value: bool| Some(vec![Item::Bool(value)]);
    match function {
        Function::Empty => yes(items.is_empty()),
        Function::Exists => yes(!items.is_empty()),
        Function::Count => Some(vec![Item::Number(items.len() as f64)]),
        Function::Not if items.len() > 1 => None,
        Function::Not => Some(truth(&items).map(|value| Item::Bool(!value)).into_iter().collect()),
        Function::AllTrue => yes(items.iter().all(|item| truth(std::slice::from_ref(item)) == Some(true))),
        Function::HasValue => yes(matches!(items.as_slice(), [item] if has_value(item))),
        Function::First => Some(items.into_iter().take(1).collect()),
        Function::Last => Some(items.into_iter().next_back().into_iter().collect()),
        Function::Tail => Some(items.into_iter().skip(1).collect()),
        Function::Distinct => distinct(items, scope),
        Function::IsDistinct => {
            let all = items.len();
            yes(distinct(items, scope)?.len() == all)
        }
        Function::Children => Some(children(&items)),
        Function::Descendants => descendants(&items, scope),
        Function::Resolve => Some(items.iter().filter_map(|item| resolve(item, scope)).collect()),
        Function::ToInteger => Some(to_integer(&items)?.into_iter().collect()),
        Function::ToText => Some(one_text(&items)?.map(Item::Text).into_iter().collect()),
        Function::Lower => Some(one_text(&items)?.map(|t| Item::Text(t.to_lowercase().into())).into_iter().collect()),
        Function::Length => {
            Some(one_text(&items)?.map(|t| Item::Number(t.chars().count() as f64)).into_iter().collect())
        }
        _ => None,
    }
}

fn has_value(item: &Item) -> bool {
    match item {
        Item::Node(node) => node.is_primitive() && *node.json != Json::Null,
        _ => true,
    }
}

fn with_criterion<'a>(
    function: Function,
    items: Items<'a>,
    criterion: &'a Expr,
    scope: &Scope<'a>,
) -> Option<Items<'a>> {
    let mut kept = Vec::new();
    let all = items.len();
    for item in items {
        let found = eval(criterion, std::slice::from_ref(&item), scope)?;
        if truth(&found) == Some(true) {
            kept.push(item);
        }
    }
    Some(match function {
        Function::Exists => vec![Item::Bool(!kept.is_empty())],
        Function::All => vec![Item::Bool(kept.len() == all)],
        _ => kept,
    })
}

fn each<'a>(items: &[Item<'a>], projection: &'a Expr, scope: &Scope<'a>) -> Option<Items<'a>> {
    let mut out = Vec::new();
    for item in items {
        out.extend(eval(projection, std::slice::from_ref(item), scope)?);
    }
    Some(out)
}

fn repeat<'a>(items: Items<'a>, projection: &'a Expr, scope: &Scope<'a>) -> Option<Items<'a>> {
    let (mut out, mut next) = (Vec::new(), items);
    while !next.is_empty() {
        next = each(&next, projection, scope)?;
        out.extend(next.iter().cloned());
        if out.len() > MAX_REPEAT {
            return None;
        }
    }
    Some(out)
}

fn iif<'a>(items: &[Item<'a>], arguments: &'a [Expr], scope: &Scope<'a>) -> Option<Items<'a>> {
    let yes = truth(&eval(&arguments[0], items, scope)?) == Some(true);
    let chosen = if yes { arguments.get(1) } else { arguments.get(2) };
    chosen.map_or(Some(Vec::new()), |expr| eval(expr, items, scope))
}

fn extensions<'a>(items: &[Item<'a>], url: &str) -> Items<'a> {
    let mut found = Vec::new();
    for item in items {
        if let Item::Node(node) = item {
            node.named("extension", &mut found);
        }
    }
    found.into_iter().filter(|c| c.node.json.text("url") == Some(url)).map(|c| Item::Node(c.node)).collect()
}

fn sets<'a>(function: Function, items: Items<'a>, other: Items<'a>, scope: &Scope<'a>) -> Option<Items<'a>> {
    match function {
        Function::Intersect => {
            scope.budget.spend(items.len().saturating_mul(other.len()))?;
            Some(items.into_iter().filter(|item| other.iter().any(|o| same(item, o))).collect())
        }
        Function::Combine => Some(items.into_iter().chain(other).collect()),
        _ => distinct(items.into_iter().chain(other).collect(), scope),
    }
}

fn texts<'a>(
    function: Function,
    items: &[Item<'a>],
    arguments: &'a [Expr],
    this: &[Item<'a>],
    scope: &Scope<'a>,
) -> Option<Items<'a>> {
    let Some(own) = one_text(items)? else { return Some(Vec::new()) };
    let argument = eval(&arguments[0], this, scope)?;
    if function == Function::Substring {
        let Some(start) = number(&argument)? else { return Some(Vec::new()) };
        let length = match arguments.get(1) {
            Some(argument) => number(&eval(argument, this, scope)?)?.map_or(usize::MAX, |n| n as usize),
            None => usize::MAX,
        };
        return Some(substring(&own, start, length).into_iter().collect());
    }
    let Some(other) = one_text(&argument)? else { return Some(Vec::new()) };
    let found = match function {
        Function::StartsWith => own.starts_with(&*other),
        Function::EndsWith => own.ends_with(&*other),
        Function::Contains => own.contains(&*other),
        _ => return None,
    };
    Some(vec![Item::Bool(found)])
}

fn substring<'a>(text: &str, start: f64, length: usize) -> Option<Item<'a>> {
    let start = (start >= 0.0).then_some(start as usize)?;
    let part: String = text.chars().skip(start).take(length).collect();
    (!part.is_empty()).then_some(Item::Text(Cow::Owned(part)))
}

fn to_integer<'a>(items: &[Item<'a>]) -> Option<Option<Item<'a>>> {
    let parsed = |text: Cow<str>| text.parse::<i64>().ok().map(|n| Item::Number(n as f64));
    Some(one_text(items)?.and_then(parsed))
}

fn children<'a>(items: &[Item<'a>]) -> Items<'a> {
    let nodes = items.iter().filter_map(|item| if let Item::Node(node) = item { Some(*node) } else { None });
    nodes.flat_map(Node::children).map(|child| Item::Node(child.node)).collect()
}

fn descendants<'a>(items: &[Item<'a>], scope: &Scope<'a>) -> Option<Items<'a>> {
    let mut out = children(items);
    let mut next = 0;
    while next < out.len() {
        let more = children(&out[next..=next]);
        scope.budget.spend(1 + more.len())?;
        out.extend(more);
        next += 1;
    }
    Some(out)
}

/// The contained resource that a reference or its text names; others are not at hand.
fn resolve<'a>(item: &Item<'a>, scope: &Scope<'a>) -> Option<Item<'a>> {
    let reference = match item {
        Item::Node(node) if node.kind == "Reference" => Cow::Borrowed(node.json.text("reference")?),
        _ => text(item)?,
    };
    let id = reference.strip_prefix('#')?;
    let contained = scope.root.json.get("contained")?.items().iter().find(|c| c.text("id") == Some(id))?;
    Node::resource(contained).map(Item::Node)
}
